/**
 * Full positions in keeping with what one player knows: the rest is drawn from the format's own generator of teams.
 *
 * What is known is a JSON document (services/arena/policies/known.py writes it): that player's side, the own one, is p1
 * here, wherever it sits. A position is built without playing anything: two teams that nobody sends in, then everything
 * put where the document says it is. What a log does not tell of a number (HP between two percents, turns of sleep left)
 * is guessed.
 */
'use strict';

const {Dice} = require('./branch.js');

/** Drawn once for a species, and once for a format: what is known picks among them. */
const SETS = 60;
const TEAMS = 60;
/** Formes that stay when the Pokémon leaves the field. */
const LASTING_FORME = /-(?:Hero|Busted|Tera|Terastal|Stellar)$/;
const HALF_DEFAULT = 85;
const EXTENDED = 8;

const toID = text => String(text ?? '').toLowerCase().replace(/[^a-z0-9]/g, '');

/** Sets and teams of one format's generator, always the same ones. */
class Draws {
	constructor(Teams, Dex, format) {
		this.dex = Dex.forFormat(format);
		this.generator = Teams.getGenerator(format, this.seed('teams'));
		if (!this.generator.randomSets) throw new Error(`${format} has no generator of single Pokémon`);
		this.known = new Map();
		this.pool = null;
	}

	seed(text) {
		const dice = new Dice(text);
		return `sodium,${Array.from({length: 4}, () => dice.next().toString(16).padStart(8, '0')).join('')}`;
	}

	/** Under which name the generator has this species; undefined where it has none. */
	key(species) {
		const near = [species.id, toID(species.battleOnly), toID(species.changesFrom), toID(species.baseSpecies)];
		return near.find(id => id && this.generator.randomSets[id]);
	}

	sets(species) {
		const key = this.key(species);
		if (!key) return [];
		let sets = this.known.get(key);
		if (!sets) {
			this.generator.setSeed(this.seed(`sets/${key}`));
			sets = Array.from({length: SETS}, (_, at) => this.generator.randomSet(key, {}, at % 6 === 0));
			this.known.set(key, sets);
		}
		return sets;
	}

	/** A set of any species, as often as it stands in teams. */
	any(dice) {
		if (!this.pool) {
			this.generator.setSeed(this.seed('pool'));
			this.pool = Array.from({length: TEAMS}, () => this.generator.getTeam()).flat();
		}
		return this.pool[dice.next() % this.pool.length];
	}

	/** One that may be what was shown, or the nearest to it, made to fit. */
	like(shown, dice) {
		const species = this.dex.species.get(shown.species);
		const sets = this.sets(species);
		const moves = shown.copied ? [] : shown.moves;
		let best = [], least = Infinity;
		for (const set of sets) {
			const odds = this.oddsWith(set, shown, moves);
			if (odds < least) [best, least] = [[], odds];
			if (odds === least) best.push(set);
		}
		const set = best.length ? {...best[dice.next() % best.length]} : this.plain(species, shown);
		const missing = moves.filter(move => !set.moves.includes(move));
		if (missing.length) {
			const rest = set.moves.filter(move => !moves.includes(move));
			set.moves = [...moves, ...rest].slice(0, Math.max(4, moves.length));
		}
		set.level = shown.level;
		return set;
	}

	/** How many things speak against a set. */
	oddsWith(set, shown, moves) {
		let odds = 0;
		for (const move of moves) if (!set.moves.includes(move)) odds += 1;
		if (shown.item && toID(set.item) !== shown.item) odds += 1;
		else if (shown.item === null && shown.varied && toID(set.item).startsWith('choice')) odds += 1;
		if (shown.ability && toID(set.ability) !== shown.ability) odds += 1;
		if (shown.tera && set.teraType !== shown.tera) odds += 1;
		return odds;
	}

	plain(species, shown) {
		return {
			name: species.baseSpecies, species: species.name, level: shown.level, moves: ['tackle'], item: shown.item || '',
			ability: Object.values(species.abilities)[0], teraType: shown.tera || species.types[0], ...spread(),
		};
	}
}

function spread() {
	const evs = {}, ivs = {};
	for (const stat of ['hp', 'atk', 'def', 'spa', 'spd', 'spe']) [evs[stat], ivs[stat]] = [HALF_DEFAULT, 31];
	return {evs, ivs};
}

/** A battle in that position, in which both sides can be chosen for. */
function world(Battle, draws, known, text) {
	const dice = new Dice(text);
	const battle = new Battle({formatid: known.format, seed: draws.seed(text), send() {}});
	// Nobody is sent in: what entering does is done.
	battle.turnLoop = () => {};
	battle.setPlayer('p1', {name: 'own', team: known.own.pokemon.map(ownSet)});
	battle.setPlayer('p2', {name: 'foe', team: foeSets(draws, known.foe, dice)});
	delete battle.turnLoop;
	battle.queue.clear();
	battle.midTurn = false;
	[known.own, known.foe].forEach((is, s) => place(battle, battle.sides[s], is));
	conditions(battle, known);
	[known.own, known.foe].forEach((is, s) => is.pokemon.forEach((each, at) => each.active && volatiles(battle, battle.sides[s].pokemon[at], each, known.turn)));
	ask(battle, known);
	battle.sentLogPos = battle.log.length;
	return battle;
}

function ownSet(is) {
	return {
		name: is.name, species: is.species, gender: is.gender, level: is.level, moves: is.moves, ability: is.base_ability,
		item: is.item || '', teraType: is.tera, ...spread(),
	};
}

function foeSets(draws, foe, dice) {
	const sets = foe.pokemon.map(shown => draws.like(shown, dice));
	const families = new Set(foe.pokemon.map(shown => draws.dex.species.get(shown.species).baseSpecies));
	for (let tries = 0; sets.length < foe.pokemon.length + foe.unseen && tries < 1000; tries++) {
		const set = draws.any(dice);
		if (families.has(set.name)) continue;
		families.add(set.name);
		sets.push({...set});
	}
	// The simulator completes sets where they lack something.
	return sets.map(set => ({...set, evs: {...set.evs}, ivs: {...set.ivs}}));
}

function place(battle, side, is) {
	is.pokemon.forEach((each, at) => {
		const pokemon = side.pokemon[at];
		if (each.stats) ownStats(pokemon, each);
		forme(battle, pokemon, each);
		if (each.stats && !each.forme) {
			Object.assign(pokemon.baseStoredStats, each.stats);
			Object.assign(pokemon.storedStats, each.stats);
		}
		if (each.max_hp) pokemon.maxhp = pokemon.baseMaxhp = each.max_hp;
		pokemon.hp = each.hp ?? hpOf(each.percent, pokemon.maxhp);
		pokemon.fainted = pokemon.hp <= 0;
		if (each.item !== null) pokemon.item = each.item;
		if (each.ability) pokemon.ability = each.ability;
		pokemon.itemState = battle.initEffectState({id: pokemon.item, target: pokemon});
		pokemon.abilityState = battle.initEffectState({id: pokemon.ability, target: pokemon});
		for (const slot of pokemon.moveSlots) if (each.pp && each.pp[slot.id] !== undefined) slot.pp = each.pp[slot.id];
		pokemon.swordBoost = pokemon.shieldBoost = true;
		if (is.tera_used) pokemon.canTerastallize = null;
		if (each.terastallized && !pokemon.fainted) {
			pokemon.terastallized = pokemon.teraType = each.tera;
			pokemon.apparentType = each.tera;
			pokemon.knownType = true;
		}
		if (each.status && !pokemon.fainted) status(battle, pokemon, each);
		if (!each.active) return;
		side.active[0] = pokemon;
		pokemon.isActive = pokemon.isStarted = true;
		pokemon.newlySwitched = false;
		pokemon.activeTurns = each.stayed;
		pokemon.activeMoveActions = each.used.length;
		pokemon.previouslySwitchedIn = 1;
	});
	side.pokemonLeft = side.pokemon.filter(pokemon => !pokemon.fainted).length;
	side.totalFainted = side.pokemon.length - side.pokemonLeft;
}

/** In the middle of what the percent, which is rounded up, may stand for. */
function hpOf(percent, most) {
	return percent === 100 ? most : percent ? Math.max(1, Math.round(most * (percent - 0.5) / 100)) : 0;
}

/** Teams are drawn with the same effort in every stat but where none is wanted. */
function ownStats(pokemon, is) {
	for (const stat of ['atk', 'spe']) {
		if (pokemon.baseStoredStats[stat] > is.stats[stat]) pokemon.set.evs[stat] = pokemon.set.ivs[stat] = 0;
	}
	pokemon.setSpecies(pokemon.baseSpecies);
}

function forme(battle, pokemon, is) {
	const shown = battle.dex.species.get(is.forme || is.species);
	if (shown.exists && shown.name !== pokemon.species.name && !is.copied) {
		if (!is.active || LASTING_FORME.test(shown.name)) pokemon.baseSpecies = shown;
		pokemon.setSpecies(shown);
		const only = Object.values(shown.abilities);
		if (only.length === 1) pokemon.ability = toID(only[0]);
	}
	if (is.active && is.types.length && !is.terastallized && is.types.join() !== pokemon.types.join()) {
		pokemon.setType(is.types.map(type => type), true);
	}
}

function status(battle, pokemon, is) {
	pokemon.status = is.status;
	pokemon.statusState = battle.initEffectState({id: is.status, target: pokemon});
	if (is.status === 'tox') pokemon.statusState.stage = is.active ? is.hurt : 0;
	if (is.status !== 'slp') return;
	// It sleeps through one to three moves.
	const least = Math.min(4, Math.max(2, is.slept + 1));
	pokemon.statusState.startTime = least + Math.floor(battle.random(5 - least));
	pokemon.statusState.time = Math.max(1, pokemon.statusState.startTime - is.slept);
}

/** Turns that something lasts, which has lasted so long. */
function left(began, turn, lasts) {
	const passed = turn - began;
	return Math.max(1, passed < lasts ? lasts - passed : EXTENDED - passed);
}

function conditions(battle, known) {
	const {turn, weather} = known, dex = battle.dex;
	[known.own, known.foe].forEach((is, s) => {
		const side = battle.sides[s], source = battle.sides[1 - s].active[0] || battle.sides[1 - s].pokemon[0];
		for (const [id, number] of Object.entries(is.conditions)) {
			const condition = dex.conditions.get(id);
			if (!condition.exists) continue;
			const layers = id === 'spikes' || id === 'toxicspikes' ? number : 1;
			const state = side.sideConditions[id] = battle.initEffectState({id, target: side, source, sourceSlot: source.getSlot()});
			if (layers > 1 || id === 'spikes' || id === 'toxicspikes') state.layers = layers;
			const lasts = condition.duration || (condition.durationCallback ? 5 : 0);
			if (lasts) state.duration = left(number, turn, lasts);
		}
		if (is.wished !== null) {
			side.slotConditions[0].wish = battle.initEffectState({
				id: 'wish', target: side, source: side.active[0], sourceSlot: `${side.id}a`, hp: side.active[0].maxhp / 2,
				startingTurn: is.wished - 1, isSlotCondition: true,
			});
		}
	});
	const source = battle.sides[0].active[0];
	if (weather) {
		const id = toID(weather.name);
		battle.field.weather = id;
		const duration = ['desolateland', 'primordialsea', 'deltastream'].includes(id) ? 0 : left(weather.began, turn, 5);
		battle.field.weatherState = battle.initEffectState({id, source, sourceSlot: source.getSlot(), duration});
	}
	for (const [id, began] of Object.entries(known.fields)) {
		const state = battle.initEffectState({id, target: battle.field, source, sourceSlot: source.getSlot(), duration: left(began, turn, 5)});
		if (id.endsWith('terrain')) [battle.field.terrain, battle.field.terrainState] = [id, state];
		else if (dex.conditions.get(id).exists) battle.field.pseudoWeather[id] = state;
	}
}

/** Boosts, the latest move, and effects: put on as the simulator puts them on, and then aged. */
function volatiles(battle, pokemon, is, turn) {
	const other = battle.sides[1 - pokemon.side.n].active[0];
	Object.assign(pokemon.boosts, is.boosts);
	const latest = is.used.at(-1);
	if (latest) {
		pokemon.lastMove = pokemon.lastMoveUsed = battle.dex.getActiveMove(latest);
		pokemon.moveThisTurnResult = true;
	}
	if (pokemon.fainted) return;
	if (is.copied && other && battle.dex.species.get(is.copied).name === other.species.name) pokemon.transformInto(other);
	if (is.copied && is.stats) pokemon.moveSlots = is.moves.map(id => slotOf(battle, id, is.pp[id]));
	for (const effect of is.effects) {
		try {
			affect(battle, pokemon, other, effect);
		} catch {
			// Of an effect that needs more than is known, the position goes without it.
		}
		const state = pokemon.volatiles[toID(effect)], began = is.since[toID(effect)];
		if (state && state.duration && began !== undefined) state.duration = Math.max(1, state.duration - (turn - began));
	}
	if (latest && pokemon.item.startsWith('choice') && pokemon.hasMove(latest)) {
		pokemon.volatiles.choicelock = battle.initEffectState({id: 'choicelock', target: pokemon, move: latest});
	}
	if (is.guarded) pokemon.volatiles.stall = battle.initEffectState({id: 'stall', target: pokemon, counter: 3, duration: 2});
	if (pokemon.ability === 'unburden' && !pokemon.item) pokemon.addVolatile('unburden');
}

function slotOf(battle, id, pp) {
	const move = battle.dex.moves.get(id), most = battle.calculatePP(move);
	return {move: move.name, id: move.id, pp: pp ?? most, maxpp: most, target: move.target, disabled: false, used: false, virtual: true};
}

function affect(battle, pokemon, other, effect) {
	const counted = /^(perish|fallen|stockpile)(\d)$/.exec(effect);
	const raised = /^(protosynthesis|quarkdrive)(\w+)$/.exec(effect);
	if (counted) {
		const [, what, number] = counted;
		if (what === 'fallen') pokemon.abilityState.fallen = Number(number);
		else if (what === 'stockpile') for (let i = 0; i < number; i++) pokemon.addVolatile('stockpile');
		else if (pokemon.addVolatile('perishsong')) pokemon.volatiles.perishsong.duration = Number(number);
		return;
	}
	if (raised) {
		const [, id, bestStat] = raised;
		pokemon.volatiles[id] = battle.initEffectState({id, target: pokemon, bestStat, fromBooster: true});
		return;
	}
	if (effect.startsWith('preparing ')) {
		pokemon.lastMoveTargetLoc = 1;
		pokemon.addVolatile('twoturnmove', other, battle.dex.moves.get(effect.slice(10)));
		return;
	}
	const id = toID(effect), move = battle.dex.moves.get(id);
	if (move.exists && move.volatileStatus === 'partiallytrapped') pokemon.addVolatile('partiallytrapped', other, move);
	else if (id === 'trapped') pokemon.addVolatile('trapped', other, battle.dex.moves.get('meanlook'), 'trapper');
	else pokemon.addVolatile(id, other, move.exists ? move : null);
}

/** What comes next: a whole turn, or what is left of one. */
function ask(battle, known) {
	const [own, foe] = battle.sides.map(side => side.active[0]);
	battle.updateSpeed();
	battle.turn = known.turn - 1;
	if (known.asked === 'move' || known.mid_turn) {
		battle.endTurn();
		if (known.mid_turn) own.trapped = own.maybeTrapped = false;
		else fit(battle, own, known.own.request);
		battle.makeRequest('move');
		return;
	}
	battle.turn = known.turn;
	battle.midTurn = true;
	if (known.residual) battle.queue.addChoice({choice: 'residual'});
	own.switchFlag = true;
	// Of one who fainted in the middle of a turn, the replacement comes at its end.
	if (foe.fainted && own.fainted) foe.switchFlag = true;
	battle.makeRequest('switch');
}

/** What may be chosen is known, whatever was not rebuilt that forbids or permits it. */
function fit(battle, own, request) {
	const disabled = new Map(request.moves.map(move => [move.id, move.disabled]));
	for (const slot of own.moveSlots) if (disabled.has(slot.id)) slot.disabled = disabled.get(slot.id);
	own.trapped = request.trapped;
	own.maybeTrapped = false;
	if (!request.tera) own.canTerastallize = null;
}

module.exports = {Draws, world};
