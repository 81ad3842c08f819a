/**
 * What a value model sees of a position: some sixty numbers for each side, from the whole truth of both.
 *
 * A feature is about one side, as p1's is about p1; the model takes those of both and must give the opposite answer when
 * they are exchanged. Nothing here depends on what the end of a turn only prepares for the next choice (disabled or
 * trapped Pokémon), so that a position is worth the same before and after. FEATURES says what each number means.
 *
 * Damage is an estimate: the formula of the games with the average roll, accuracy, and the items, abilities and field
 * that matter most. It is worked out once for each pair of Pokémon as they are (a battle's `Estimates`), and what changes
 * from turn to turn (boosts, weather, screens) is put on top.
 */
'use strict';

const FEATURES = {
	hp: 'HP left, of all Pokémon, in whole Pokémon',
	living: 'Pokémon that have not fainted',
	healthy: 'living Pokémon with more than half of their HP',
	asleep: 'living Pokémon asleep',
	frozen: 'living Pokémon frozen',
	burned_attacker: 'living Pokémon burned, each with its share of physical moves',
	paralysed: 'living Pokémon paralysed',
	poisoned: 'living Pokémon poisoned or burned',
	toxic: 'turns of bad poison on the active Pokémon, plus one for each other so poisoned',
	items: 'living Pokémon with an item',
	recovery: 'living Pokémon with a move that heals its user',
	tera_left: '1 while a Pokémon of the side can still terastallize',
	attack_boost: 'stages of attack or special attack, whichever the active Pokémon has moves for',
	defence_boost: 'stages of defence and special defence of the active Pokémon, averaged',
	speed_boost: 'stages of speed of the active Pokémon',
	evasion_boost: 'stages of evasion less those of accuracy lost, of the active Pokémon',
	substitute: '1 where the active Pokémon stands behind a substitute',
	seeded: '1 where the active Pokémon is seeded or cursed',
	confused: '1 where the active Pokémon is confused',
	bound: '1 where the active Pokémon is taunted, encored, or locked into a move',
	trapped: '1 where the active Pokémon is bound by a move or marked to drop out',
	drowsy: '1 where the active Pokémon is about to fall asleep',
	rocks: 'HP that Stealth Rock would take off the bench as it comes in, in whole Pokémon',
	spikes: 'the same for Spikes',
	toxic_spikes: 'layers of Toxic Spikes, times grounded Pokémon on the bench',
	web: 'Pokémon on the bench that a Sticky Web would slow down',
	reflect: 'turns left of Reflect or Aurora Veil',
	light_screen: 'turns left of Light Screen or Aurora Veil',
	tailwind: 'turns left of Tailwind',
	wish: '1 where a wish is about to come true',
	damage: 'best move against each living opponent, as a share of its whole HP, at most 1; mean over all pairs of living Pokémon',
	one_hit: 'share of pairs in which one hit takes all HP that the opponent has left',
	two_hits: 'the same for two hits',
	faster: 'share of pairs in which the own Pokémon moves first',
	duel: 'share of pairs in which the own Pokémon would win if both only hit each other; a tie is a half',
	lead: 'how clearly it would, from -1 to 1: see duelLead; mean over pairs',
	worst_lead: 'that of the opponent who is hardest to meet, with the best own Pokémon against it',
	beaten: 'share of living opponents that at least one own Pokémon would beat',
	best_beats: 'share of living opponents that the best own Pokémon would beat',
	hp_damage: 'HP left times mean damage, summed over the side, in whole Pokémon',
	sends: '1 where the active Pokémon has fainted and another is to be sent; its best answer then counts as the active one',
	leaves: '1 where the active Pokémon is about to be replaced by choice',
	best_answer: 'best lead that a Pokémon of the side, the active one too, has over the opposing active one',
	active_damage: 'best move of the active Pokémon on the opposing one, as a share of the HP left, at most 1',
	active_one_hit: '1 where that is all of it',
	active_two_hits: '1 where two such hits are',
	active_first: '1 where the active Pokémon moves first, a half at equal speed',
	active_kills_first: '1 where the active Pokémon takes all HP left before the other one moves',
	active_duel: '1 where the active Pokémon would win against the opposing one',
	active_lead: 'how clearly it would',
	active_on_bench: 'mean lead of the active Pokémon over the opposing bench',
	best_switch: 'best lead that a Pokémon of the bench has over the opposing active one, after coming in and being hit once',
	safest_switch: 'least share of its HP that the best hit of the opposing active Pokémon takes from one of the bench',
	chain: 'HP left in whole Pokémon if all fought duel after duel, the loser sending the best answer; 0 for the loser',
	chain_wins: '1 where the side would win that',
};
const NAMES = Object.keys(FEATURES);
const AT = Object.fromEntries(NAMES.map((name, at) => [name, at]));

const AVERAGE_ROLL = 0.925;
const STAGES = [1, 1.5, 2, 2.5, 3, 3.5, 4];
const IMMUNE = {
	levitate: ['Ground'], eartheater: ['Ground'], flashfire: ['Fire'], wellbakedbody: ['Fire'], waterabsorb: ['Water'],
	stormdrain: ['Water'], dryskin: ['Water'], voltabsorb: ['Electric'], lightningrod: ['Electric'],
	motordrive: ['Electric'], sapsipper: ['Grass'], purifyingsalt: [], goodasgold: [],
};
const HALVED = {
	thickfat: ['Fire', 'Ice'], heatproof: ['Fire'], waterbubble: ['Fire'], purifyingsalt: ['Ghost'],
};
/** What a move without a fixed power has on average, where the table below does not work it out. */
const UNKNOWN_POWER = 60;
const NO_HIT = {move: null, damage: 0, physical: false, type: '', first: false};

function stage(boost) {
	return boost >= 0 ? STAGES[boost] : 1 / STAGES[-boost];
}

function power(move, attacker, defender) {
	switch (move.id) {
	case 'lowkick': case 'grassknot': {
		const weight = defender.species.weighthg;
		return weight >= 2000 ? 120 : weight >= 1000 ? 100 : weight >= 500 ? 80 : weight >= 250 ? 60 : weight >= 100 ? 40 : 20;
	}
	case 'heavyslam': case 'heatcrash': {
		const times = attacker.species.weighthg / defender.species.weighthg;
		return times >= 5 ? 120 : times >= 4 ? 100 : times >= 3 ? 80 : times >= 2 ? 60 : 40;
	}
	case 'gyroball':
		return Math.min(150, 25 * defender.storedStats.spe / attacker.storedStats.spe + 1);
	case 'electroball': {
		const times = attacker.storedStats.spe / defender.storedStats.spe;
		return times >= 4 ? 150 : times >= 3 ? 120 : times >= 2 ? 80 : times >= 1 ? 60 : 40;
	}
	case 'acrobatics': return attacker.item ? 55 : 110;
	case 'knockoff': return defender.item ? 97.5 : 65;
	case 'lastrespects': return 50 * (1 + attacker.side.totalFainted);
	case 'tripleaxel': return 40;
	case 'populationbomb': return 20;
	case 'return': case 'frustration': return 102;
	}
	return move.basePower || (move.basePowerCallback ? UNKNOWN_POWER : 0);
}

function hits(move, attacker) {
	if (!move.multihit) return 1;
	if (typeof move.multihit === 'number') return move.multihit;
	if (attacker.ability === 'skilllink') return move.multihit[1];
	return attacker.item === 'loadeddice' ? 4.5 : 3.1;
}

function grounded(pokemon) {
	return !pokemon.types.includes('Flying') && pokemon.ability !== 'levitate' && pokemon.item !== 'airballoon';
}

/** What the Pokémon of one battle do to each other, worked out when first asked for. */
class Estimates {
	constructor(dex) {
		this.dex = dex;
		this.found = new Map();
		this.factors = new Map();
		this.moves = new Map();
	}

	/** Times that a move of this type counts against these types. */
	factor(type, types) {
		const key = `${type}>${types.join()}`;
		let factor = this.factors.get(key);
		if (factor === undefined) {
			factor = type === '???' ? 1 : this.dex.getImmunity(type, types) ? 2 ** this.dex.getEffectiveness(type, types) : 0;
			this.factors.set(key, factor);
		}
		return factor;
	}

	move(id) {
		let move = this.moves.get(id);
		if (!move) this.moves.set(id, move = this.dex.moves.get(id));
		return move;
	}

	/** All that a Pokémon's damage hangs on, but for what changes from turn to turn. */
	identity(pokemon) {
		let text = `${pokemon.fullname}|${pokemon.species.id}|${pokemon.ability}|${pokemon.item}|${pokemon.types}|` +
			`${pokemon.terastallized || ''}|${pokemon.storedStats.atk}`;
		for (const slot of pokemon.moveSlots) text += `|${slot.id}`;
		return text;
	}

	/** The hits of `attacker` on `defender`, one for each damaging move. */
	hits(attacker, attackerIs, defender, defenderIs) {
		let by = this.found.get(attackerIs);
		if (!by) this.found.set(attackerIs, by = new Map());
		let hits = by.get(defenderIs);
		if (!hits) by.set(defenderIs, hits = this.estimate(attacker, defender));
		return hits;
	}

	estimate(attacker, defender) {
		const found = [];
		for (const slot of attacker.moveSlots) {
			const hit = this.hit(this.move(slot.id), attacker, defender);
			if (hit.damage > 0) found.push(hit);
		}
		return found;
	}

	hit(move, attacker, defender) {
		const accuracy = move.accuracy === true || attacker.ability === 'noguard' ? 1 : Math.min(1, move.accuracy / 100);
		const made = {move: move.id, physical: move.category === 'Physical', type: move.type, first: move.priority > 0, share: ''};
		let type = move.type;
		if (move.id === 'terablast' && attacker.terastallized) type = attacker.terastallized;
		if (move.id === 'ivycudgel' || move.id === 'ragingbull' || move.id === 'revelationdance') type = attacker.types.at(-1);
		if (type === 'Normal') {
			const skin = {pixilate: 'Fairy', aerilate: 'Flying', refrigerate: 'Ice', galvanize: 'Electric'}[attacker.ability];
			if (skin) type = skin;
		}
		made.type = type;
		const times = this.factor(type, defender.types);
		const pierces = ['moldbreaker', 'teravolt', 'turboblaze'].includes(attacker.ability);
		const shielded = !pierces && (IMMUNE[defender.ability] || []).includes(type);
		if (!times || shielded || (!pierces && defender.ability === 'wonderguard' && times <= 1)) return {...made, damage: 0};
		if (type === 'Ground' && defender.item === 'airballoon') return {...made, damage: 0};
		if (move.damage) return {...made, damage: accuracy * (move.damage === 'level' ? attacker.level : move.damage), share: 'fixed'};
		if (['superfang', 'naturesmadness', 'ruination'].includes(move.id)) return {...made, damage: accuracy / 2, share: 'half'};
		let base = power(move, attacker, defender);
		if (!base) return {...made, damage: 0};
		if (attacker.ability === 'technician' && base <= 60) base *= 1.5;
		let physical = made.physical;
		if (move.id === 'terablast' && attacker.terastallized) {
			physical = made.physical = attacker.storedStats.atk > attacker.storedStats.spa;
		}
		let attack = attacker.storedStats[physical ? 'atk' : 'spa'];
		if (move.overrideOffensiveStat) attack = attacker.storedStats[move.overrideOffensiveStat];
		if (move.id === 'foulplay') attack = defender.storedStats.atk;
		const against = move.overrideDefensiveStat || (physical ? 'def' : 'spd');
		const damage = (Math.floor(2 * attacker.level / 5 + 2) * base * attack / defender.storedStats[against] / 50 + 2) *
			AVERAGE_ROLL * accuracy * hits(move, attacker) * times * this.modifiers(move, type, physical, times, attacker, defender);
		if (['eruption', 'waterspout', 'dragonenergy'].includes(move.id)) made.share = 'own hp';
		return {...made, damage: move.flags.charge || move.flags.recharge || move.selfdestruct ? damage / 2 : damage};
	}

	modifiers(move, type, physical, times, attacker, defender) {
		let by = 1;
		const own = attacker.types.includes(type) || (attacker.baseSpecies.types.includes(type) && attacker.terastallized);
		if (own) by *= attacker.ability === 'adaptability' ? 2 : 1.5;
		if (attacker.terastallized === type && attacker.baseSpecies.types.includes(type)) by *= 4 / 3;
		const item = attacker.item;
		if (item === 'lifeorb') by *= 1.3;
		else if (item === 'choiceband' && physical) by *= 1.5;
		else if (item === 'choicespecs' && !physical) by *= 1.5;
		else if (item === 'expertbelt' && times > 1) by *= 1.2;
		switch (attacker.ability) {
		case 'hugepower': case 'purepower': if (physical) by *= 2; break;
		case 'gorillatactics': case 'hustle': if (physical) by *= 1.5; break;
		case 'sheerforce': if (move.secondaries) by *= 1.3; break;
		case 'toughclaws': if (move.flags.contact) by *= 1.3; break;
		case 'ironfist': if (move.flags.punch) by *= 1.2; break;
		case 'strongjaw': if (move.flags.bite) by *= 1.5; break;
		case 'sharpness': if (move.flags.slicing) by *= 1.5; break;
		case 'megalauncher': if (move.flags.pulse) by *= 1.5; break;
		case 'punkrock': if (move.flags.sound) by *= 1.3; break;
		case 'transistor': if (type === 'Electric') by *= 1.3; break;
		case 'dragonsmaw': if (type === 'Dragon') by *= 1.5; break;
		case 'waterbubble': if (type === 'Water') by *= 2; break;
		case 'steelworker': if (type === 'Steel') by *= 1.5; break;
		case 'rockypayload': if (type === 'Rock') by *= 1.5; break;
		case 'tintedlens': if (times < 1) by *= 2; break;
		case 'swordofruin': if (physical) by *= 4 / 3; break;
		case 'beadsofruin': if (!physical) by *= 4 / 3; break;
		}
		if ((HALVED[defender.ability] || []).includes(type)) by /= 2;
		switch (defender.ability) {
		case 'filter': case 'solidrock': case 'prismarmor': if (times > 1) by *= 0.75; break;
		case 'furcoat': if (physical) by /= 2; break;
		case 'icescales': if (!physical) by /= 2; break;
		case 'fluffy': if (type === 'Fire') by *= 2; else if (move.flags.contact) by /= 2; break;
		case 'dryskin': if (type === 'Fire') by *= 1.25; break;
		case 'tabletsofruin': if (physical) by *= 0.75; break;
		case 'vesselofruin': if (!physical) by *= 0.75; break;
		}
		if (defender.item === 'assaultvest' && !physical) by /= 1.5;
		else if (defender.item === 'eviolite' && defender.species.nfe) by /= 1.5;
		return by;
	}
}

const WEATHER = {
	raindance: {Water: 1.5, Fire: 0.5}, primordialsea: {Water: 1.5, Fire: 0},
	sunnyday: {Fire: 1.5, Water: 0.5}, desolateland: {Fire: 1.5, Water: 0},
};
const TERRAIN = {electricterrain: 'Electric', grassyterrain: 'Grass', psychicterrain: 'Psychic'};
const FASTER_IN = {
	chlorophyll: 'sunnyday', swiftswim: 'raindance', sandrush: 'sandstorm', slushrush: 'snowscape',
};

/** One side as the features need it: who lives, the active one first, with speeds and identities. */
class Team {
	constructor(battle, side, estimates) {
		this.side = side;
		this.active = side.active[0] && !side.active[0].fainted && side.active[0].hp > 0 ? side.active[0] : null;
		this.living = side.pokemon.filter(pokemon => pokemon.hp > 0 && pokemon !== this.active);
		if (this.active) this.living.unshift(this.active);
		// Where in `living` the one stands that faces the opponent: the active one, or the best answer once that is known.
		this.facing = this.living.length ? 0 : -1;
		this.names = this.living.map(pokemon => estimates.identity(pokemon));
		this.speeds = this.living.map(pokemon => this.speed(battle, pokemon));
	}

	speed(battle, pokemon) {
		let speed = pokemon.storedStats.spe;
		if (pokemon === this.active) speed *= stage(pokemon.boosts.spe);
		if (pokemon.item === 'choicescarf') speed *= 1.5;
		else if (pokemon.item === 'ironball') speed /= 2;
		if (pokemon.status === 'par' && pokemon.ability !== 'quickfeet') speed /= 2;
		if (FASTER_IN[pokemon.ability] && FASTER_IN[pokemon.ability] === battle.field.weather) speed *= 2;
		if (pokemon.ability === 'unburden' && pokemon.volatiles.unburden) speed *= 2;
		if (this.side.sideConditions.tailwind) speed *= 2;
		return battle.field.pseudoWeather.trickroom ? -speed : speed;
	}
}

/** The lock of a Choice item; one whose item is gone is only taken off when the turn has ended. */
function choiceLock({item, volatiles}) {
	return item.startsWith('choice') ? volatiles.choicelock : undefined;
}

/** The damage of each own Pokémon's best move on each opponent, in HP, and whether a hit that goes first takes all. */
function bestHits(battle, own, other, estimates) {
	const {weather, terrain} = battle.field;
	const inWeather = WEATHER[weather] || {}, onTerrain = TERRAIN[terrain];
	const {reflect, lightscreen, auroraveil} = other.side.sideConditions;
	const most = [], quick = [];
	for (let i = 0; i < own.living.length; i++) {
		const attacker = own.living[i], isActive = attacker === own.active;
		const burned = attacker.status === 'brn' && attacker.ability !== 'guts' ? 0.5 : 1;
		const lock = isActive ? choiceLock(attacker) : undefined;
		const row = [], first = [];
		for (let j = 0; j < other.living.length; j++) {
			const defender = other.living[j], met = defender === other.active;
			let best = 0, before = 0;
			for (const hit of estimates.hits(attacker, own.names[i], defender, other.names[j])) {
				if (lock && lock.move !== hit.move) continue;
				let damage = hit.damage;
				if (hit.share === 'half') {
					damage *= defender.hp;
				} else if (hit.share !== 'fixed') {
					if (isActive) damage *= stage(attacker.boosts[hit.physical ? 'atk' : 'spa']);
					if (met) damage /= stage(defender.boosts[hit.physical ? 'def' : 'spd']);
					if (hit.physical) damage *= burned;
					if ((hit.physical ? reflect : lightscreen) || auroraveil) damage /= 2;
					if (inWeather[hit.type] !== undefined) damage *= inWeather[hit.type];
					if (onTerrain === hit.type) damage *= 1.3;
					if (hit.share === 'own hp') damage *= attacker.hp / attacker.maxhp;
				}
				if (damage > best) best = damage;
				if (hit.first && damage > before) before = damage;
			}
			row.push(best);
			first.push(before >= defender.hp);
		}
		most.push(row);
		quick.push(first);
	}
	return {most, quick};
}

const NEVER = 12;
/** Hits that it takes, as a number with a fraction; at most NEVER. */
function hitsNeeded(hp, damage) {
	return damage * NEVER <= hp ? NEVER : Math.max(1, hp / damage);
}

/** How a duel goes: 1, 0, or a half where nobody wins. */
function duelResult(toWin, toLose, first) {
	if (toWin >= NEVER && toLose >= NEVER) return 0.5;
	const winsAfter = Math.ceil(toWin - 1e-9), losesAfter = Math.ceil(toLose - 1e-9);
	return winsAfter < losesAfter ? 1 : winsAfter > losesAfter ? 0 : first;
}

/** How clearly it is won, from -1 to 1: the hyperbolic tangent of the logarithm of hits to lose over hits to win. */
function duelLead(toWin, toLose, first) {
	const losing = (toLose + first / 2) ** 2, winning = (toWin + (1 - first) / 2) ** 2;
	return (losing - winning) / (losing + winning);
}

function order(speed, other) {
	return speed > other ? 1 : speed < other ? 0 : 0.5;
}

function teamFeatures(x, own, estimates) {
	const {side, active} = own;
	for (const pokemon of own.living) {
		const share = pokemon.hp / pokemon.maxhp;
		x[AT.hp] += share;
		x[AT.living] += 1;
		if (share > 0.5) x[AT.healthy] += 1;
		if (pokemon.item) x[AT.items] += 1;
		if (pokemon.moveSlots.some(slot => estimates.move(slot.id).flags.heal && estimates.move(slot.id).category === 'Status')) {
			x[AT.recovery] += 1;
		}
		statusFeatures(x, pokemon, active, estimates);
		if (pokemon.canTerastallize) x[AT.tera_left] = 1;
	}
	const {sideConditions, slotConditions} = side;
	const turns = name => sideConditions[name] ? sideConditions[name].duration || 1 : 0;
	x[AT.reflect] = Math.max(turns('reflect'), turns('auroraveil'));
	x[AT.light_screen] = Math.max(turns('lightscreen'), turns('auroraveil'));
	x[AT.tailwind] = turns('tailwind');
	if (slotConditions[0] && slotConditions[0].wish) x[AT.wish] = 1;
	hazardFeatures(x, own, estimates);
	if (!active) return;
	const {boosts, volatiles} = active;
	const moves = active.moveSlots.map(slot => estimates.move(slot.id));
	const physical = moves.some(move => move.category === 'Physical'), special = moves.some(move => move.category === 'Special');
	x[AT.attack_boost] = physical && special ? Math.max(boosts.atk, boosts.spa) : physical ? boosts.atk : special ? boosts.spa : 0;
	x[AT.defence_boost] = (boosts.def + boosts.spd) / 2;
	x[AT.speed_boost] = boosts.spe;
	x[AT.evasion_boost] = boosts.evasion + boosts.accuracy;
	if (volatiles.substitute) x[AT.substitute] = 1;
	if (volatiles.leechseed || volatiles.curse || volatiles.saltcure) x[AT.seeded] = 1;
	if (volatiles.confusion) x[AT.confused] = 1;
	if (volatiles.taunt || volatiles.encore || volatiles.lockedmove || volatiles.mustrecharge || choiceLock(active)) x[AT.bound] = 1;
	if (volatiles.partiallytrapped || volatiles.perishsong) x[AT.trapped] = 1;
	if (volatiles.yawn) x[AT.drowsy] = 1;
}

function statusFeatures(x, pokemon, active, estimates) {
	switch (pokemon.status) {
	case 'slp': x[AT.asleep] += 1; break;
	case 'frz': x[AT.frozen] += 1; break;
	case 'par': x[AT.paralysed] += 1; break;
	case 'brn': {
		x[AT.poisoned] += 1;
		const physical = pokemon.moveSlots.filter(slot => estimates.move(slot.id).category === 'Physical').length;
		x[AT.burned_attacker] += physical / Math.max(1, pokemon.moveSlots.length);
		break;
	}
	case 'psn': x[AT.poisoned] += 1; break;
	case 'tox': x[AT.toxic] += pokemon === active ? 1 + (pokemon.statusState.stage || 0) : 1; break;
	}
}

function hazardFeatures(x, own, estimates) {
	const {stealthrock, spikes, toxicspikes, stickyweb} = own.side.sideConditions;
	if (!stealthrock && !spikes && !toxicspikes && !stickyweb) return;
	for (const pokemon of own.living) {
		if (pokemon === own.active || pokemon.item === 'heavydutyboots') continue;
		const guarded = pokemon.ability === 'magicguard', left = pokemon.hp / pokemon.maxhp;
		if (stealthrock && !guarded) x[AT.rocks] += Math.min(left, estimates.factor('Rock', pokemon.types) / 8);
		if (!grounded(pokemon)) continue;
		if (spikes && !guarded) x[AT.spikes] += Math.min(left, [0, 1 / 8, 1 / 6, 1 / 4][spikes.layers || 1]);
		if (toxicspikes && !pokemon.status && !pokemon.types.includes('Steel')) {
			x[AT.toxic_spikes] += pokemon.types.includes('Poison') ? -1 : toxicspikes.layers || 1;
		}
		if (stickyweb) x[AT.web] += 1;
	}
}

/** All duels of p1's living Pokémon with p2's, as p1 sees them, row by row. */
class Duels {
	constructor(teams, hits) {
		const [rows, columns] = teams.map(team => team.living.length);
		this.columns = columns;
		for (const name of ['toWin', 'toLose', 'first', 'result', 'lead']) this[name] = new Float64Array(rows * columns);
		for (let i = 0, at = 0; i < rows; i++) {
			for (let j = 0; j < columns; j++, at++) {
				let first = order(teams[0].speeds[i], teams[1].speeds[j]);
				if (hits[0].quick[i][j]) first = hits[1].quick[j][i] ? first : 1;
				else if (hits[1].quick[j][i]) first = 0;
				const toWin = this.toWin[at] = hitsNeeded(teams[1].living[j].hp, hits[0].most[i][j]);
				const toLose = this.toLose[at] = hitsNeeded(teams[0].living[i].hp, hits[1].most[j][i]);
				this.first[at] = first;
				this.result[at] = duelResult(toWin, toLose, first);
				this.lead[at] = duelLead(toWin, toLose, first);
			}
		}
	}

	/** The same as seen from one side: its Pokémon `i` against the opponent's `j`. */
	seen(s, i, j, into) {
		const at = s ? j * this.columns + i : i * this.columns + j;
		into.toWin = s ? this.toLose[at] : this.toWin[at];
		into.toLose = s ? this.toWin[at] : this.toLose[at];
		into.first = s ? 1 - this.first[at] : this.first[at];
		into.result = s ? 1 - this.result[at] : this.result[at];
		into.lead = s ? -this.lead[at] : this.lead[at];
		return into;
	}
}

function pairFeatures(x, s, own, other, hits, all) {
	const rows = own.living.length, columns = other.living.length, pairs = rows * columns;
	if (!pairs) return;
	const best = new Float64Array(columns).fill(-1), pair = {};
	let beaten = 0;
	for (let i = 0; i < rows; i++) {
		const pokemon = own.living[i];
		let wins = 0, damage = 0;
		for (let j = 0; j < columns; j++) {
			all.seen(s, i, j, pair);
			damage += Math.min(1, hits.most[i][j] / other.living[j].maxhp);
			if (pair.toWin <= 1) x[AT.one_hit] += 1 / pairs;
			if (pair.toWin <= 2) x[AT.two_hits] += 1 / pairs;
			x[AT.faster] += pair.first / pairs;
			x[AT.duel] += pair.result / pairs;
			x[AT.lead] += pair.lead / pairs;
			wins += pair.result;
			if (pair.lead > best[j]) best[j] = pair.lead;
			if (pair.result > 0.5) beaten |= 1 << j;
		}
		x[AT.damage] += damage / pairs;
		x[AT.best_beats] = Math.max(x[AT.best_beats], wins / columns);
		x[AT.hp_damage] += pokemon.hp / pokemon.maxhp * damage / columns;
	}
	x[AT.worst_lead] = Math.min(...best);
	for (let j = 0; j < columns; j++) if (beaten & 1 << j) x[AT.beaten] += 1 / columns;
}

function activeFeatures(x, s, own, other, hits, others, all) {
	if (!own.active) x[AT.sends] = 1;
	else if (own.active.switchFlag) x[AT.leaves] = 1;
	if (!own.living.length || !other.living.length) return;
	const at = own.facing, against = other.facing, pair = {};
	let best = -1, answer = -1, safest = 1;
	for (let i = 0; i < own.living.length; i++) {
		all.seen(s, i, against, pair);
		answer = Math.max(answer, pair.lead);
		if (i === at) continue;
		const pokemon = own.living[i], taken = others.most[against][i], left = pokemon.hp - taken;
		safest = Math.min(safest, taken / pokemon.hp);
		if (left > 0) best = Math.max(best, duelLead(pair.toWin, hitsNeeded(left, taken), pair.first));
	}
	x[AT.best_switch] = best;
	x[AT.safest_switch] = safest;
	x[AT.best_answer] = answer;
	const waiting = other.living.length - 1;
	for (let j = 0; j <= waiting; j++) if (j !== against) x[AT.active_on_bench] += all.seen(s, at, j, pair).lead / waiting;
	const {result, lead, toWin, first} = all.seen(s, at, against, pair);
	x[AT.active_damage] = Math.min(1, hits.most[at][against] / other.living[against].hp);
	if (toWin <= 1) x[AT.active_one_hit] = 1;
	if (toWin <= 2) x[AT.active_two_hits] = 1;
	x[AT.active_first] = first;
	if (toWin <= 1) x[AT.active_kills_first] = first;
	x[AT.active_duel] = result;
	x[AT.active_lead] = lead;
}

/** Who comes in where the active Pokémon has fainted: the one with the best lead over whom the other side has there. */
function sendAnswers(teams, all) {
	const pair = {}, found = teams.map((own, s) => {
		if (own.active || !own.living.length || !teams[1 - s].living.length) return own.facing;
		let best = 0, most = -2;
		own.living.forEach((_, i) => {
			const {lead} = all.seen(s, i, 0, pair);
			if (lead > most) [best, most] = [i, lead];
		});
		return best;
	});
	found.forEach((at, s) => teams[s].facing = at);
}

/** Duel after duel until one side has nobody left; what is left of either. */
function chain(teams, hits, speeds) {
	const left = teams.map(team => team.living.map(pokemon => pokemon.hp));
	const on = teams.map(team => team.active ? 0 : -1);
	// A side without an active Pokémon sends its best answer; where both lack one, to the first that the other has.
	const answer = (s, against) => {
		let best = -1, most = -Infinity;
		for (let i = 0; i < left[s].length; i++) {
			if (left[s][i] <= 0) continue;
			const toWin = hitsNeeded(left[1 - s][against], hits[s].most[i][against]);
			const toLose = hitsNeeded(left[s][i], hits[1 - s].most[against][i]);
			const lead = duelLead(toWin, toLose, order(speeds[s][i], speeds[1 - s][against]));
			if (lead > most) [best, most] = [i, lead];
		}
		return best;
	};
	for (;;) {
		const facing = on.map((at, s) => at >= 0 ? at : left[s].findIndex(hp => hp > 0));
		for (const s of [0, 1]) {
			if (on[s] < 0) on[s] = facing[1 - s] < 0 ? facing[s] : answer(s, facing[1 - s]);
		}
		if (on[0] < 0 || on[1] < 0) break;
		const [i, j] = on;
		const mine = hitsNeeded(left[1][j], hits[0].most[i][j]), theirs = hitsNeeded(left[0][i], hits[1].most[j][i]);
		const first = order(speeds[0][i], speeds[1][j]);
		const after = Math.min(mine + (1 - first) / 2, theirs + first / 2);
		if (mine + (1 - first) / 2 === theirs + first / 2) {
			left[0][i] = left[1][j] = 0;
		} else if (after === mine + (1 - first) / 2) {
			left[1][j] = 0;
			left[0][i] *= Math.max(0.05, 1 - after / theirs);
		} else {
			left[0][i] = 0;
			left[1][j] *= Math.max(0.05, 1 - after / mine);
		}
		for (const s of [0, 1]) if (left[s][on[s]] <= 0) on[s] = -1;
	}
	return teams.map((team, s) => team.living.reduce((sum, pokemon, i) => sum + left[s][i] / pokemon.maxhp, 0));
}

/** The features of both sides, each an array in the order of NAMES. */
function features(battle, estimates) {
	const teams = battle.sides.map(side => new Team(battle, side, estimates));
	const hits = [bestHits(battle, teams[0], teams[1], estimates), bestHits(battle, teams[1], teams[0], estimates)];
	const found = teams.map(() => new Float64Array(NAMES.length));
	const left = chain(teams, hits, teams.map(team => team.speeds)), all = new Duels(teams, hits);
	sendAnswers(teams, all);
	for (const s of [0, 1]) {
		const x = found[s], own = teams[s], other = teams[1 - s];
		teamFeatures(x, own, estimates);
		pairFeatures(x, s, own, other, hits[s], all);
		activeFeatures(x, s, own, other, hits[s], hits[1 - s], all);
		x[AT.chain] = left[s];
		if (left[s] > left[1 - s]) x[AT.chain_wins] = 1;
	}
	return found;
}

module.exports = {Estimates, FEATURES, NAMES, features};
