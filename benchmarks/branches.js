/**
 * Whether copies of a battle go on as the battle itself does, and what a copy costs.
 *
 *     node benchmarks/branches.js BATTLES SEED [FORMAT[=TEAM,TEAM] …]
 *
 * Plays BATTLES of each format by chance, a TEAM being a file in Showdown's export format. At some steps it copies the
 * battle; each copy is then given what the battle was given and must print the same log to the end. The position that a
 * branch reaches with the battle's own dice must have the same features, and exchanging the sides must exchange them.
 * Prints one line of JSON; times are milliseconds of CPU, without the first battles where there are more.
 */
'use strict';

const fs = require('node:fs');
const path = require('node:path');

const simulator = path.join(__dirname, '..', 'shared', 'simulator');
const build = path.join(simulator, 'node_modules', 'pokemon-showdown', 'dist', 'sim');
const {Battle, Dex, PRNG, TeamValidator, Teams} = require(build);
const {State} = require(path.join(build, 'state.js'));
const {branchOf, copyBattle} = require(path.join(simulator, 'branch.js'));
const {Estimates, features} = require(path.join(simulator, 'position.js'));

const SHARE_COPIED = 0.12;
const TIMED_COPIES = 5;
const WARM_UP_BATTLES = 10;
const SEATS = ['p1', 'p2'];

const spent = {copy: [0, 0], state: [0, 0], step: [0, 0], features: [0, 0]};

function timed(what, times, make) {
	const before = process.cpuUsage();
	let made;
	for (let time = 0; time < times; time++) made = make();
	const {user, system} = process.cpuUsage(before);
	spent[what][0] += (user + system) / 1000;
	spent[what][1] += times;
	return made;
}

/** Chooses by chance for one side; what it chose. */
function choose(battle, seat, chance) {
	const side = battle.getSide(seat), request = side.activeRequest;
	const tries = request.teamPreview ? ['team'] : request.forceSwitch ? [] : ['move 1', 'move 2', 'move 3', 'move 4'];
	if (request.active && request.active[0].canTerastallize) tries.push('move 1 terastallize');
	for (let slot = 2; slot <= side.pokemon.length; slot++) tries.push(`switch ${slot}`);
	chance.shuffle(tries);
	for (const choice of [...tries, 'default']) {
		const given = choice === 'team' ? `team ${1 + chance.random(side.pokemon.length)}` : choice;
		if (side.choose(given)) return given;
	}
	throw new Error(`${seat} cannot choose`);
}

function heard(battle) {
	return battle.log.filter(line => !line.startsWith('|t:|')).join('\n');
}

function same(x, y) {
	return x.every((number, at) => Math.abs(number - y[at]) < 1e-9);
}

/** What a branch with the battle's own dice would find, and whether exchanged sides have exchanged features. */
function look(battle, branch, estimates) {
	if (battle.ended || branch.ended) return {branch: battle.ended === branch.ended, exchange: true};
	const found = timed('features', 1, () => features(battle, estimates)), there = features(branch, estimates);
	const turned = copyBattle(battle);
	turned.sides.reverse();
	const exchanged = features(turned, estimates);
	return {
		branch: same(found[0], there[0]) && same(found[1], there[1]),
		exchange: same(found[0], exchanged[1]) && same(found[1], exchanged[0]),
	};
}

function play(format, teams, seed, faults) {
	const chance = new PRNG(`sodium,${seed.toString(16).padStart(32, '0')}`);
	const battle = new Battle({formatid: format, seed: `sodium,${(seed + 1).toString(16).padStart(32, '0')}`, send() {}});
	SEATS.forEach((seat, s) => battle.setPlayer(seat, {name: seat, seed: `sodium,${seed}${s}`, team: teams[s]}));
	const estimates = new Estimates(battle.dex), copies = [];
	let kept = 0;
	while (!battle.ended) {
		if (chance.random() < SHARE_COPIED) {
			copies.push([timed('copy', TIMED_COPIES, () => copyBattle(battle)), []]);
			timed('state', 1, () => State.deserializeBattle(State.serializeBattle(battle)));
		}
		for (const [s, seat] of SEATS.entries()) {
			if (!battle.sides[s].requestState) continue;
			const chosen = choose(battle, seat, chance);
			for (const [, given] of copies) given.push([seat, chosen]);
		}
		const branch = branchOf(battle, battle.prng.clone().rng);
		timed('step', 1, () => branch.commitChoices());
		battle.commitChoices();
		battle.sentLogPos = battle.log.length;
		const found = look(battle, branch, estimates);
		for (const what of ['branch', 'exchange']) if (!found[what]) faults.push(`${format} ${seed} turn ${battle.turn}: ${what}`);
		kept++;
	}
	for (const [copy, given] of copies) {
		for (const [seat, chosen] of given) copy.choose(seat, chosen);
		if (heard(copy) !== heard(battle) || copy.winner !== battle.winner) faults.push(`${format} ${seed}: another log`);
	}
	return [copies.length, kept];
}

function main([battles, seed, ...formats]) {
	const faults = [], counts = {};
	for (const asked of formats) {
		const [format, files] = asked.split('=');
		const teams = (files ? files.split(',') : []).map(file => {
			const team = Teams.import(fs.readFileSync(file, 'utf8'));
			const problems = TeamValidator.get(format).validateTeam(team);
			if (problems) throw new Error(problems.join('\n'));
			return Teams.pack(team);
		});
		counts[format] = {battles: Number(battles), copies: 0, steps: 0};
		for (let battle = 0; battle < Number(battles); battle++) {
			if (battle === WARM_UP_BATTLES) for (const sums of Object.values(spent)) sums.fill(0);
			const [copies, steps] = play(format, teams, Number(seed) + 2 * battle, faults);
			counts[format].copies += copies;
			counts[format].steps += steps;
		}
	}
	const mean = what => Number((spent[what][0] / spent[what][1]).toFixed(3));
	console.log(JSON.stringify({
		faults,
		formats: counts,
		copy_ms: mean('copy'),
		serialize_ms: mean('state'),
		features_ms: mean('features'),
		step_ms: mean('step'),
	}));
}

Dex.includeFormats();
main(process.argv.slice(2));
