/**
 * Writes pokedex.json, abilities.json, mechanics.json and unpressed.json, the snapshot that shared/battle/pokedex.py reads, from
 * the simulator's own data.
 *
 *   node shared/battle/data/build_pokedex.js shared/simulator/node_modules/pokemon-showdown [FILE]
 *
 * Generation 9 is written whole; every earlier generation only where it differs from the one after it.
 * One entry a line, sorted, no date: the same simulator always gives the same bytes.
 */
'use strict';
const fs = require('fs');
const path = require('path');

const root = path.resolve(process.argv[2] || 'shared/simulator/node_modules/pokemon-showdown');
const { Dex } = require(root);
const { version } = require(path.join(root, 'package.json'));
const GENERATIONS = [9, 8, 7, 6, 5, 4, 3, 2, 1];
const MULTIPLIERS = [1, 2, 0.5, 0]; // by the code in damageTaken
const STATS = ['hp', 'atk', 'def', 'spa', 'spd', 'spe'];

const id = name => name.toLowerCase().replace(/[^a-z0-9]+/g, '');
const official = entry => entry.num > 0 && !['CAP', 'Custom'].includes(entry.isNonstandard);

function species(dex) {
	const found = {};
	for (const entry of dex.species.all()) {
		if (!official(entry) || entry.gen > dex.gen) continue;
		found[entry.id] = [entry.name, entry.types, STATS.map(stat => entry.baseStats[stat])];
	}
	return found;
}

/** The abilities that a species or forme can have, the one of a change of forme first. There are none before generation 3. */
function abilities(dex) {
	const found = {};
	for (const entry of dex.gen < 3 ? [] : dex.species.all()) {
		if (!official(entry) || entry.gen > dex.gen) continue;
		found[entry.id] = Object.values(entry.abilities).filter(name => name && dex.abilities.get(name).gen <= dex.gen).map(id);
	}
	return found;
}

function moves(dex) {
	const found = {};
	for (const entry of dex.moves.all()) {
		if (!official(entry) || entry.gen > dex.gen) continue;
		const accuracy = entry.accuracy === true ? null : entry.accuracy;
		const facts = [entry.type, entry.category, entry.basePower, accuracy, entry.pp, entry.priority];
		found[id(entry.name)] = [entry.name, ...facts];
	}
	return found;
}

const FLAGS = ['bite', 'bullet', 'contact', 'punch', 'pulse', 'slicing', 'sound', 'wind'];

/** What else counts for a move's damage: traits; the fewest and most hits; fixed damage or null; the share of HP that it heals. */
function mechanics(dex) {
	const found = {};
	for (const move of dex.moves.all()) {
		if (!official(move) || move.gen > dex.gen) continue;
		const traits = FLAGS.filter(flag => move.flags[flag]);
		if (move.secondaries || move.hasSheerForce) traits.push('secondary');
		if (move.recoil || move.hasCrashDamage) traits.push('recoil');
		if (move.willCrit) traits.push('critical');
		if (move.ignoreAbility) traits.push('ignores ability');
		if (move.ignoreDefensive) traits.push('ignores boosts');
		if (move.overrideOffensivePokemon === 'target') traits.push("target's attack");
		if (move.overrideOffensiveStat === 'def') traits.push('defense attacks');
		if (move.overrideDefensiveStat === 'def') traits.push('defense defends');
		if (move.ohko) traits.push('one hit');
		const hits = Array.isArray(move.multihit) ? move.multihit : [move.multihit || 1, move.multihit || 1];
		const heals = move.heal ? Math.floor(100 * move.heal[0] / move.heal[1]) : 0;
		found[id(move.name)] = [traits, hits, move.damage || null, heals];
	}
	return found;
}

/** Weight in kilograms, and whether it still evolves. */
function bodies(dex) {
	const found = {};
	for (const entry of dex.species.all()) {
		if (official(entry) && entry.gen <= dex.gen) found[entry.id] = [entry.weightkg, entry.nfe];
	}
	return found;
}

const AIMED = ['all', 'allAdjacent', 'allAdjacentFoes', 'adjacentFoe', 'any', 'normal', 'randomNormal', 'scripted'];

/** The moves that Pressure makes no dearer in a single battle; one whose target depends on its user is among them. */
function unpressed(dex) {
	const pressed = move => (AIMED.includes(move.target) && !move.nonGhostTarget) || move.flags.mustpressure;
	return dex.moves.all().filter(move => official(move) && move.gen <= dex.gen && !pressed(move)).map(move => move.id).sort();
}

function chart(dex) {
	const found = {};
	const types = dex.types.all().filter(type => !type.isNonstandard);
	for (const attacker of types) {
		const row = {};
		for (const defender of types) {
			const multiplier = MULTIPLIERS[defender.damageTaken[attacker.name] || 0];
			if (multiplier !== 1) row[defender.name] = multiplier;
		}
		found[attacker.name] = row;
	}
	return found;
}

function byGeneration(read) {
	const tables = {};
	let later = {};
	for (const generation of GENERATIONS) {
		const whole = read(Dex.forGen(generation));
		const differs = key => JSON.stringify(whole[key]) !== JSON.stringify(later[key]);
		tables[generation] = Object.fromEntries(Object.keys(whole).filter(differs).map(key => [key, whole[key]]));
		later = { ...later, ...whole };
	}
	return tables;
}

const dex = Dex.forGen(9);
const names = table => Object.fromEntries(table.all().filter(entry => entry.num > 0).map(entry => [entry.id, entry.name]));
const cosmetic = {};
for (const entry of dex.species.all()) {
	if (official(entry)) for (const forme of entry.cosmeticFormes || []) cosmetic[id(forme)] = entry.id;
}

/** JSON with sorted keys, one line an entry down to `depth`. */
function write(value, depth) {
	if (depth === 0 || Array.isArray(value) || typeof value !== 'object' || value === null) {
		const sorted = (key, inner) => inner && typeof inner === 'object' && !Array.isArray(inner) ?
			Object.fromEntries(Object.entries(inner).sort(([a], [b]) => a < b ? -1 : 1)) : inner;
		return JSON.stringify(value, sorted);
	}
	const lines = Object.keys(value).sort().map(key => `${JSON.stringify(key)}: ${write(value[key], depth - 1)}`);
	return lines.length ? `{\n${lines.join(',\n')}\n}` : '{}';
}

const snapshot = {
	source: `pokemon-showdown ${version}, MIT licence`,
	species: byGeneration(species),
	cosmetic,
	moves: byGeneration(moves),
	chart: byGeneration(chart),
	abilities: names(dex.abilities),
	items: names(dex.items),
};
const file = process.argv[3] || path.join(__dirname, 'pokedex.json');
fs.writeFileSync(file, write(snapshot, 3) + '\n');
const beside = (name, value, depth) => fs.writeFileSync(path.join(path.dirname(file), name), write(value, depth) + '\n');
beside('abilities.json', byGeneration(abilities), 2);
beside('unpressed.json', Object.fromEntries(GENERATIONS.map(generation => [generation, unpressed(Dex.forGen(generation))])), 1);
beside('mechanics.json', { moves: byGeneration(mechanics), bodies: byGeneration(bodies) }, 3);
