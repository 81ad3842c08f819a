/**
 * What a value model sees of a position: some sixty numbers for each side, from the whole truth of both.
 *
 * A feature is about one side, as p1's is about p1; the model takes those of both and must give the opposite answer when
 * they are exchanged. Nothing here depends on what the end of a turn only prepares for the next choice (disabled or
 * trapped Pokémon), so that a position is worth the same before and after. FEATURES says what each number means.
 *
 * Damage is an estimate: the formula of the games with the average roll, accuracy, and the items, abilities and field
 * that matter most. It is worked out once for each pair of Pokémon as they are (a battle's `Estimates`, which its copies
 * share), and what changes from turn to turn (boosts, weather, screens) is put on top, only where there is any.
 *
 * Thousands of positions are looked at, so what runs for each pair makes no objects and looks up no names.
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

/** A Pokémon with all that its damage hangs on, but for what changes from turn to turn. */
class Kind {
	constructor(id, pokemon, estimates) {
		this.id = id;
		this.species = pokemon.species.id;
		this.ability = pokemon.ability;
		this.item = pokemon.item;
		this.types = [...pokemon.types];
		this.terastallized = pokemon.terastallized || '';
		this.attack = pokemon.storedStats.atk;
		this.slots = pokemon.moveSlots.map(slot => slot.id);
		const moves = this.slots.map(move => estimates.move(move));
		this.recovers = moves.some(move => move.flags.heal && move.category === 'Status');
		this.physical = moves.filter(move => move.category === 'Physical').length;
		this.special = moves.filter(move => move.category === 'Special').length;
		// What it does to each other kind, by that one's id.
		this.hits = [];
	}

	is(pokemon) {
		return this.item === pokemon.item && this.ability === pokemon.ability && this.attack === pokemon.storedStats.atk &&
			this.species === pokemon.species.id && this.terastallized === (pokemon.terastallized || '') &&
			sameTypes(this.types, pokemon.types) && sameSlots(this.slots, pokemon.moveSlots);
	}
}

function sameTypes(types, others) {
	if (types.length !== others.length) return false;
	for (let at = 0; at < types.length; at++) if (types[at] !== others[at]) return false;
	return true;
}

function sameSlots(moves, slots) {
	if (moves.length !== slots.length) return false;
	for (let at = 0; at < moves.length; at++) if (moves[at] !== slots[at].id) return false;
	return true;
}

/** What one Pokémon does to another: its damaging moves, and the best where nothing is put on top. */
class Hits {
	constructor(hits) {
		this.hits = hits;
		this.plain = hits.every(hit => hit.share === '' || hit.share === 'fixed');
		this.best = Math.max(0, ...hits.map(hit => hit.damage));
		this.first = Math.max(0, ...hits.filter(hit => hit.first).map(hit => hit.damage));
	}
}

/** What the Pokémon of one battle, and of its copies, do to each other, worked out when first asked for. */
class Estimates {
	constructor(dex) {
		this.dex = dex;
		this.count = 0;
		this.kinds = new Map();
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

	/** The kind that this Pokémon is of now; each Pokémon of a battle has kinds of its own. */
	kind(pokemon) {
		let kinds = this.kinds.get(pokemon.fullname);
		if (!kinds) this.kinds.set(pokemon.fullname, kinds = []);
		for (let at = 0; at < kinds.length; at++) if (kinds[at].is(pokemon)) return kinds[at];
		const kind = new Kind(this.count++, pokemon, this);
		kinds.push(kind);
		return kind;
	}

	estimate(attacker, defender) {
		const found = [];
		for (const slot of attacker.moveSlots) {
			const hit = this.hit(this.move(slot.id), attacker, defender);
			if (hit.damage > 0) found.push(hit);
		}
		return new Hits(found);
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

/** One side as the features need it: who lives, the active one first, with speeds and kinds. */
class Team {
	constructor(battle, side, estimates) {
		this.side = side;
		this.active = side.active[0] && !side.active[0].fainted && side.active[0].hp > 0 ? side.active[0] : null;
		this.living = this.active ? [this.active] : [];
		for (const pokemon of side.pokemon) if (pokemon.hp > 0 && pokemon !== this.active) this.living.push(pokemon);
		const count = this.count = this.living.length;
		// Where in `living` the one stands that faces the opponent: the active one, or the best answer once that is known.
		this.facing = count ? 0 : -1;
		this.kinds = [];
		this.speeds = [];
		this.hp = [];
		this.whole = [];
		for (let i = 0; i < count; i++) {
			const pokemon = this.living[i];
			this.kinds.push(estimates.kind(pokemon));
			this.speeds.push(this.speed(battle, pokemon));
			this.hp.push(pokemon.hp);
			this.whole.push(pokemon.maxhp);
		}
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

/** All pairs of one side's living Pokémon with the other's, as that side sees them, row by row. */
class Pairs {
	constructor(room) {
		// The damage of the own one's best move, in HP, and 1 where a hit that goes first takes all that is left.
		this.most = new Float64Array(room);
		this.quick = new Float64Array(room);
		// Their duel: hits that it takes to win and to lose, who is first, who wins, and how clearly.
		this.toWin = new Float64Array(room);
		this.toLose = new Float64Array(room);
		this.first = new Float64Array(room);
		this.result = new Float64Array(room);
		this.lead = new Float64Array(room);
	}
}
/** One for each side, used again for each position. */
let pairs = [new Pairs(36), new Pairs(36)];

function roomFor(count) {
	if (pairs[0].most.length < count) pairs = [new Pairs(count), new Pairs(count)];
	return pairs;
}

/** Fills in the damage of each own Pokémon's best move on each opponent. */
function bestHits(battle, own, other, seen, estimates) {
	const {weather, terrain} = battle.field;
	const inWeather = WEATHER[weather], onTerrain = TERRAIN[terrain];
	const {reflect, lightscreen, auroraveil} = other.side.sideConditions;
	const changed = inWeather || onTerrain || reflect || lightscreen || auroraveil;
	const rows = own.count, columns = other.count;
	for (let i = 0, at = 0; i < rows; i++) {
		const attacker = own.living[i], kind = own.kinds[i], isActive = attacker === own.active;
		const burned = attacker.status === 'brn' && attacker.ability !== 'guts' ? 0.5 : 1;
		const lock = isActive ? choiceLock(attacker) : undefined;
		const physicalBy = isActive ? stage(attacker.boosts.atk) : 1, specialBy = isActive ? stage(attacker.boosts.spa) : 1;
		const rowChanged = changed || burned !== 1 || lock || physicalBy !== 1 || specialBy !== 1;
		for (let j = 0; j < columns; j++, at++) {
			const defender = other.living[j];
			const hits = kind.hits[other.kinds[j].id] ||= estimates.estimate(attacker, defender);
			let best = 0, before = 0;
			const met = defender === other.active ? defender.boosts : null;
			if (!rowChanged && hits.plain && (!met || (!met.def && !met.spd))) {
				best = hits.best;
				before = hits.first;
			} else {
				const defence = met ? stage(met.def) : 1, specialDefence = met ? stage(met.spd) : 1;
				for (const hit of hits.hits) {
					if (lock && lock.move !== hit.move) continue;
					let damage = hit.damage;
					if (hit.share === 'half') {
						damage *= defender.hp;
					} else if (hit.share !== 'fixed') {
						damage *= hit.physical ? physicalBy : specialBy;
						damage /= hit.physical ? defence : specialDefence;
						if (hit.physical) damage *= burned;
						if ((hit.physical ? reflect : lightscreen) || auroraveil) damage /= 2;
						if (inWeather && inWeather[hit.type] !== undefined) damage *= inWeather[hit.type];
						if (onTerrain === hit.type) damage *= 1.3;
						if (hit.share === 'own hp') damage *= attacker.hp / attacker.maxhp;
					}
					if (damage > best) best = damage;
					if (hit.first && damage > before) before = damage;
				}
			}
			seen.most[at] = best;
			seen.quick[at] = before >= defender.hp ? 1 : 0;
		}
	}
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
	for (let i = 0; i < own.count; i++) {
		const pokemon = own.living[i], kind = own.kinds[i], share = own.hp[i] / own.whole[i];
		x[AT.hp] += share;
		x[AT.living] += 1;
		if (share > 0.5) x[AT.healthy] += 1;
		if (pokemon.item) x[AT.items] += 1;
		if (kind.recovers) x[AT.recovery] += 1;
		if (pokemon.status) statusFeatures(x, pokemon, pokemon === active, kind);
		if (pokemon.canTerastallize) x[AT.tera_left] = 1;
	}
	const {sideConditions, slotConditions} = side;
	x[AT.reflect] = Math.max(turnsLeft(sideConditions.reflect), turnsLeft(sideConditions.auroraveil));
	x[AT.light_screen] = Math.max(turnsLeft(sideConditions.lightscreen), turnsLeft(sideConditions.auroraveil));
	x[AT.tailwind] = turnsLeft(sideConditions.tailwind);
	if (slotConditions[0] && slotConditions[0].wish) x[AT.wish] = 1;
	hazardFeatures(x, own, estimates);
	if (!active) return;
	const {boosts, volatiles} = active;
	const {physical, special} = own.kinds[0];
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

function turnsLeft(condition) {
	return condition ? condition.duration || 1 : 0;
}

function statusFeatures(x, pokemon, isActive, kind) {
	switch (pokemon.status) {
	case 'slp': x[AT.asleep] += 1; break;
	case 'frz': x[AT.frozen] += 1; break;
	case 'par': x[AT.paralysed] += 1; break;
	case 'brn':
		x[AT.poisoned] += 1;
		x[AT.burned_attacker] += kind.physical / Math.max(1, kind.slots.length);
		break;
	case 'psn': x[AT.poisoned] += 1; break;
	case 'tox': x[AT.toxic] += isActive ? 1 + (pokemon.statusState.stage || 0) : 1; break;
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

/** Fills in how all duels go, as p1 sees them and as p2 does. */
function duels([own, other], [mine, theirs]) {
	const rows = own.count, columns = other.count;
	for (let i = 0, at = 0; i < rows; i++) {
		for (let j = 0; j < columns; j++, at++) {
			const turned = j * rows + i;
			let first = order(own.speeds[i], other.speeds[j]);
			if (mine.quick[at]) first = theirs.quick[turned] ? first : 1;
			else if (theirs.quick[turned]) first = 0;
			const toWin = hitsNeeded(other.hp[j], mine.most[at]), toLose = hitsNeeded(own.hp[i], theirs.most[turned]);
			mine.toWin[at] = theirs.toLose[turned] = toWin;
			mine.toLose[at] = theirs.toWin[turned] = toLose;
			mine.first[at] = first;
			theirs.first[turned] = 1 - first;
			theirs.result[turned] = 1 - (mine.result[at] = duelResult(toWin, toLose, first));
			theirs.lead[turned] = -(mine.lead[at] = duelLead(toWin, toLose, first));
		}
	}
}

function pairFeatures(x, own, other, seen) {
	const rows = own.count, columns = other.count, count = rows * columns;
	if (!count) return;
	const best = new Array(columns).fill(-1);
	let oneHit = 0, twoHits = 0, faster = 0, won = 0, lead = 0, every = 0, bestBeats = 0, hpDamage = 0, beaten = 0;
	for (let i = 0, at = 0; i < rows; i++) {
		let wins = 0, damage = 0;
		for (let j = 0; j < columns; j++, at++) {
			damage += Math.min(1, seen.most[at] / other.whole[j]);
			if (seen.toWin[at] <= 1) oneHit++;
			if (seen.toWin[at] <= 2) twoHits++;
			faster += seen.first[at];
			wins += seen.result[at];
			lead += seen.lead[at];
			if (seen.lead[at] > best[j]) best[j] = seen.lead[at];
			if (seen.result[at] > 0.5) beaten |= 1 << j;
		}
		won += wins;
		every += damage;
		bestBeats = Math.max(bestBeats, wins);
		hpDamage += own.hp[i] / own.whole[i] * damage;
	}
	x[AT.one_hit] = oneHit / count;
	x[AT.two_hits] = twoHits / count;
	x[AT.faster] = faster / count;
	x[AT.duel] = won / count;
	x[AT.lead] = lead / count;
	x[AT.damage] = every / count;
	x[AT.best_beats] = bestBeats / columns;
	x[AT.hp_damage] = hpDamage / columns;
	let worst = 1, beatenBy = 0;
	for (let j = 0; j < columns; j++) {
		worst = Math.min(worst, best[j]);
		if (beaten & 1 << j) beatenBy++;
	}
	x[AT.worst_lead] = worst;
	x[AT.beaten] = beatenBy / columns;
}

function activeFeatures(x, own, other, seen, turned) {
	if (!own.active) x[AT.sends] = 1;
	else if (own.active.switchFlag) x[AT.leaves] = 1;
	const rows = own.count, columns = other.count;
	if (!rows || !columns) return;
	const against = other.facing;
	let best = -1, answer = -1, safest = 1;
	for (let i = 0; i < rows; i++) {
		const at = i * columns + against;
		answer = Math.max(answer, seen.lead[at]);
		if (i === own.facing) continue;
		const taken = turned.most[against * rows + i], left = own.hp[i] - taken;
		safest = Math.min(safest, taken / own.hp[i]);
		if (left > 0) best = Math.max(best, duelLead(seen.toWin[at], hitsNeeded(left, taken), seen.first[at]));
	}
	x[AT.best_switch] = best;
	x[AT.safest_switch] = safest;
	x[AT.best_answer] = answer;
	const row = own.facing * columns, at = row + against;
	let onBench = 0;
	for (let j = 0; j < columns; j++) if (j !== against) onBench += seen.lead[row + j];
	if (columns > 1) x[AT.active_on_bench] = onBench / (columns - 1);
	const toWin = seen.toWin[at], first = seen.first[at];
	x[AT.active_damage] = Math.min(1, seen.most[at] / other.hp[against]);
	if (toWin <= 1) x[AT.active_one_hit] = 1;
	if (toWin <= 2) x[AT.active_two_hits] = 1;
	x[AT.active_first] = first;
	if (toWin <= 1) x[AT.active_kills_first] = first;
	x[AT.active_duel] = seen.result[at];
	x[AT.active_lead] = seen.lead[at];
}

/** Who of a side without an active Pokémon comes in: the one with the best lead over whom the other side has there. */
function sendsAnswer(own, other, seen) {
	if (own.active || !own.count || !other.count) return own.facing;
	let best = 0;
	for (let i = 1; i < own.count; i++) if (seen.lead[i * other.count] > seen.lead[best * other.count]) best = i;
	return best;
}

/** The one of `living` with the best lead over the opponent's `against`, of those that have anything left; -1 for none. */
function bestAnswer(own, other, left, leftOther, against, seen, turned) {
	let best = -1, most = -Infinity;
	for (let i = 0; i < own.count; i++) {
		if (left[i] <= 0) continue;
		const toWin = hitsNeeded(leftOther[against], seen.most[i * other.count + against]);
		const toLose = hitsNeeded(left[i], turned.most[against * own.count + i]);
		const lead = duelLead(toWin, toLose, order(own.speeds[i], other.speeds[against]));
		if (lead > most) {
			most = lead;
			best = i;
		}
	}
	return best;
}

function firstLeft(left) {
	for (let i = 0; i < left.length; i++) if (left[i] > 0) return i;
	return -1;
}

/** Duel after duel until one side has nobody left; what is left of either. */
function chain([own, other], [seen, turned]) {
	const mine = own.hp.slice(), theirs = other.hp.slice();
	let i = own.active ? 0 : -1, j = other.active ? 0 : -1;
	for (;;) {
		// A side without an active Pokémon sends its best answer; where both lack one, to the first that the other has.
		const facing = i >= 0 ? i : firstLeft(mine), facingOther = j >= 0 ? j : firstLeft(theirs);
		if (i < 0) i = facingOther < 0 ? facing : bestAnswer(own, other, mine, theirs, facingOther, seen, turned);
		if (j < 0) j = facing < 0 ? facingOther : bestAnswer(other, own, theirs, mine, facing, turned, seen);
		if (i < 0 || j < 0) break;
		const toWin = hitsNeeded(theirs[j], seen.most[i * other.count + j]);
		const toLose = hitsNeeded(mine[i], turned.most[j * own.count + i]);
		const first = order(own.speeds[i], other.speeds[j]);
		const won = toWin + (1 - first) / 2, lost = toLose + first / 2;
		if (won === lost) mine[i] = theirs[j] = 0;
		if (won < lost) {
			theirs[j] = 0;
			mine[i] *= Math.max(0.05, 1 - won / toLose);
		} else if (won > lost) {
			mine[i] = 0;
			theirs[j] *= Math.max(0.05, 1 - lost / toWin);
		}
		if (mine[i] <= 0) i = -1;
		if (theirs[j] <= 0) j = -1;
	}
	return [leftOver(own, mine), leftOver(other, theirs)];
}

function leftOver(team, left) {
	let sum = 0;
	for (let i = 0; i < team.count; i++) sum += left[i] / team.whole[i];
	return sum;
}

/** The features of both sides, each an array in the order of NAMES. */
function features(battle, estimates) {
	const one = new Team(battle, battle.sides[0], estimates), two = new Team(battle, battle.sides[1], estimates);
	const teams = [one, two], seen = roomFor(one.count * two.count);
	bestHits(battle, one, two, seen[0], estimates);
	bestHits(battle, two, one, seen[1], estimates);
	duels(teams, seen);
	const left = chain(teams, seen), facing = [sendsAnswer(one, two, seen[0]), sendsAnswer(two, one, seen[1])];
	[one.facing, two.facing] = facing;
	const found = [new Float64Array(NAMES.length), new Float64Array(NAMES.length)];
	for (let s = 0; s < 2; s++) {
		const x = found[s], own = teams[s], other = teams[1 - s];
		teamFeatures(x, own, estimates);
		pairFeatures(x, own, other, seen[s]);
		activeFeatures(x, own, other, seen[s], seen[1 - s]);
		x[AT.chain] = left[s];
		if (left[s] > left[1 - s]) x[AT.chain_wins] = 1;
	}
	return found;
}

module.exports = {Estimates, FEATURES, NAMES, features};
