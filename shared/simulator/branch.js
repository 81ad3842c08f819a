/**
 * Copies a battle in the middle, so that a turn can be played again: with other dice, or with another choice.
 *
 * A copy has objects of its own for all that a battle changes, and shares what belongs to the game: species, moves,
 * items, abilities, formats and rules. Given the same dice and choices, it and the original print the same log to the
 * end. `State.deserializeBattle(State.serializeBattle(battle))` gives the same at many times the cost, since it builds
 * a new battle from its teams and reads every reference from text.
 */
'use strict';

const {createHash} = require('node:crypto');

/** Classes whose objects belong to the game, or of which a battle in play has no more need. */
const SHARED = new Set([
	'Ability', 'Condition', 'Format', 'Item', 'ModdedDex', 'DataMove', 'Nature', 'RuleTable', 'Species', 'TypeInfo',
]);
const shells = new Map();
const bindings = new Map();

/** A constructor that gives an object all of these fields at once, so that engines lay copies out like originals. */
function shellOf(original) {
	const prototype = Object.getPrototypeOf(original);
	let shell = shells.get(prototype);
	if (!shell) {
		const fields = Object.keys(original).map(name => `this[${JSON.stringify(name)}] = undefined;`);
		shell = new Function(fields.join('\n'));
		shell.prototype = prototype;
		shells.set(prototype, shell);
	}
	return new shell();
}

/** The arrow functions of a Pokémon are bound to the one that made them; the same text is bound to the copy here. */
function bound(method, owner) {
	const text = method.toString();
	if (!text.startsWith('() =>')) return method;
	let bind = bindings.get(text);
	if (!bind) bindings.set(text, bind = new Function(`return ${text};`));
	return bind.call(owner);
}

function copyValue(value, seen) {
	if (typeof value !== 'object' || value === null) return value;
	const known = seen.get(value);
	if (known !== undefined) return known;
	if (Array.isArray(value)) {
		if (Object.isFrozen(value)) return value;
		const length = value.length, copy = new Array(length);
		seen.set(value, copy);
		for (let i = 0; i < length; i++) copy[i] = copyValue(value[i], seen);
		return copy;
	}
	const prototype = Object.getPrototypeOf(value);
	if (prototype === Object.prototype || prototype === null) {
		if (Object.isFrozen(value)) return value;
		const copy = prototype ? {...value} : Object.assign(Object.create(null), value);
		seen.set(value, copy);
		for (const name in copy) {
			const field = copy[name];
			if (typeof field === 'object' && field !== null) copy[name] = copyValue(field, seen);
		}
		return copy;
	}
	return SHARED.has(prototype.constructor.name) ? value : copyInstance(value, seen);
}

/** A move in use is of the class of the game's own moves, but changed by all that it meets; afterwards it is only read. */
function copyMove(move, seen) {
	const copy = Object.assign(Object.create(Object.getPrototypeOf(move)), move);
	seen.set(move, copy);
	for (const name in copy) {
		const field = copy[name];
		if (typeof field === 'object' && field !== null) copy[name] = copyValue(field, seen);
	}
}

function copyInstance(value, seen) {
	if (value instanceof Set) {
		const copy = new Set();
		seen.set(value, copy);
		for (const each of value) copy.add(copyValue(each, seen));
		return copy;
	}
	if (ArrayBuffer.isView(value)) return value.slice();
	const copy = shellOf(value);
	seen.set(value, copy);
	for (const name of Object.keys(value)) {
		const field = value[name];
		if (typeof field === 'function') copy[name] = bound(field, copy);
		else copy[name] = typeof field === 'object' && field !== null ? copyValue(field, seen) : field;
	}
	return copy;
}

/** A copy that goes on by itself. It says nothing to anybody: whoever wants its log reads `log`. */
function copyBattle(battle) {
	return copyWithout(battle, new Map());
}

const heard = new WeakMap();
/** Event → effect → what it does then, null for nothing: effects are the game's, and asked for the same things all the time. */
const callbacks = new Map();

/** The names of all events that anything in the game attends to; most that the simulator asks for are none of them. */
function heardIn({dex, format}) {
	let names = heard.get(format);
	if (names) return names;
	heard.set(format, names = new Set(['onSwitchIn']));
	const take = effect => {
		for (const name in effect) if (name.startsWith('on')) names.add(name);
		if (effect.condition) take(effect.condition);
	};
	for (const kind of ['Abilities', 'Conditions', 'Items', 'Moves', 'Pokedex', 'Rulesets']) Object.values(dex.data[kind]).forEach(take);
	take(format);
	return names;
}

function onlyHeard(find) {
	return function(holder, event, getKey, custom) {
		const attended = getKey || heardIn(this).has(event);
		return attended ? Object.getPrototypeOf(this)[find].call(this, holder, event, getKey, custom) : [];
	};
}

/** What stands in for a copied battle's log, which nobody reads: its length alone guards against battles without end. */
const UNHEARD = {
	send() {},
	add() {
		this.log.push('');
	},
	addSplit() {
		this.log.push('');
	},
	addMove() {
		this.log.push('');
	},
	attrLastMove() {},
	retargetLastMove() {},
	makeRequest(type) {
		if (type) this.requestState = type;
	},
	findPokemonEventHandlers: onlyHeard('findPokemonEventHandlers'),
	findSideEventHandlers: onlyHeard('findSideEventHandlers'),
	findFieldEventHandlers: onlyHeard('findFieldEventHandlers'),
	getCallback(target, effect, name) {
		let known = callbacks.get(name);
		if (!known) callbacks.set(name, known = new WeakMap());
		let callback = known.get(effect);
		if (callback === undefined) {
			callback = Object.getPrototypeOf(this).getCallback.call(this, target, effect, name) ?? null;
			known.set(effect, callback);
		}
		return callback ?? undefined;
	},
};
/** Where the end of a turn does nothing but prepare the next choice: no Dynamax ends, and no battle by its length. */
const PLAIN_END_OF_TURN = {from: 9, before: 100};

/**
 * A copy in which all sides have chosen, to be played up to the next choice with these dice, at less than the cost of a
 * copy that can be chosen for or read: it keeps no log, and makes no requests.
 */
function branchOf(battle, dice) {
	const seen = new Map([[battle.log, []], [battle.inputLog, []], [battle.messageLog, []], [battle.prng, null]]);
	for (const side of battle.sides) if (side.activeRequest) seen.set(side.activeRequest, null);
	const copy = Object.assign(copyWithout(battle, seen), UNHEARD);
	copy.sentLogPos = 0;
	copy.prng = Object.create(Object.getPrototypeOf(battle.prng));
	copy.prng.rng = dice;
	if (battle.gen >= PLAIN_END_OF_TURN.from && battle.turn < PLAIN_END_OF_TURN.before) copy.endTurn = silent;
	return copy;
}

function copyWithout(battle, seen) {
	// The generator of random teams has done its work.
	if (battle.teamGenerator) seen.set(battle.teamGenerator, null);
	const {send} = battle;
	battle.send = silent;
	try {
		for (const {move} of [...battle.queue.list, {move: battle.activeMove}]) if (move && !seen.has(move)) copyMove(move, seen);
		return copyValue(battle, seen);
	} finally {
		battle.send = send;
	}
}

function silent() {}

/** Dice from a text: 32 bits a throw (SHA-256 seeds Chris Doty-Humphrey's sfc32, of PractRand). */
class Dice {
	constructor(text) {
		const digest = createHash('sha256').update(text).digest();
		[this.a, this.b, this.c, this.count] = [0, 4, 8, 12].map(at => digest.readInt32LE(at));
		this.thrown = false;
	}

	next() {
		this.thrown = true;
		const thrown = (this.a + this.b | 0) + this.count | 0;
		this.count = this.count + 1 | 0;
		this.a = this.b ^ this.b >>> 9;
		this.b = this.c + (this.c << 3) | 0;
		this.c = (this.c << 21 | this.c >>> 11) + thrown | 0;
		return thrown >>> 0;
	}

	getSeed() {
		return 'sfc32';
	}
}

module.exports = {Dice, branchOf, copyBattle};
