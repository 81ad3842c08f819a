/**
 * Looks back at a recorded battle: how likely p1 was to win after each step, and how much of that was luck.
 *
 * A step is everything from all sides' choices to the next choice: a whole turn, or what is left of one after a forced
 * switch. Before each, copies of the position are played with the same choices and other dice. The luck of a step is the
 * value of the position it led to less the mean over the copies. Whatever the value model, its expectation is zero.
 */
'use strict';

const {INPUTS, MOST_INPUTS, SEATS, check, startOptions} = require('./again.js');
const {Dice, branchOf} = require('./branch.js');
const {decisionsAt} = require('./choices.js');
const {Estimates, NAMES, features} = require('./position.js');
const {Value} = require('./value.js');

const MOST_COPIES = 64;
const MOST_FRESH = 256;

/** Walks a battle from its input log; `before` and `after` are called around each step, `after` at the start, too. */
function walk(Battle, Dex, command, before, after) {
	check(Array.isArray(command.inputs) && command.inputs.length <= MOST_INPUTS, 'too many lines');
	const start = startOptions(command.start);
	check(Dex.formats.get(start.formatid).exists, `the unknown format ${start.formatid}`);
	check(Dex.formats.get(start.formatid).gameType === 'singles', 'a battle of more than two active Pokémon');
	const battle = new Battle({...start, send() {}});
	try {
		for (const [what, seat, given] of command.inputs) {
			check(Object.hasOwn(INPUTS, what) && (what === 'forcetie' || SEATS.includes(seat)), 'a line of another kind');
			check(!battle.ended, 'a choice after the end');
			if (what !== 'choose') {
				check(what === 'player' || battle.started, 'an end before the start');
				INPUTS[what](battle, seat, given);
				if (what === 'player' && battle.started) after(battle);
				continue;
			}
			check(battle.started && battle.getSide(seat).choose(given), `a choice that cannot be made: ${given}`);
			if (!battle.allChoicesDone()) continue;
			before(battle);
			battle.commitChoices();
			after(battle);
			// Nobody reads it, and battles with a longer log than this are taken for endless ones.
			battle.sentLogPos = battle.log.length;
		}
		return outcome(battle);
	} finally {
		battle.destroy();
	}
}

/** 1 where p1 has won, 0 where p2 has, a half after a tie; null before the end. */
function outcome(battle) {
	if (!battle.ended) return null;
	const names = battle.sides.map(side => side.name);
	check(names[0] !== names[1], 'two players of one name');
	return battle.winner === names[0] ? 1 : battle.winner === names[1] ? 0 : 0.5;
}

/** Plays a step on copies with other dice; `worth` says what a position is worth to the caller. */
function branching(command, battle, step, worth, Thrown = Dice) {
	const found = [];
	for (let copy = 0; copy < command.copies; copy++) {
		const dice = new Thrown(`${command.dice}/${step}/${copy}`), branch = branchOf(battle, dice);
		branch.commitChoices();
		found.push(worth(branch));
		// Without a throw, as after most forced switches, all copies go the same way.
		if (!dice.thrown) return new Array(command.copies).fill(found[0]);
	}
	return found;
}

function checkCopies({copies, dice}, fewest = 1) {
	check(Number.isInteger(copies) && copies >= fewest && copies <= MOST_COPIES, 'an odd number of copies');
	check(typeof dice === 'string' && dice.length <= 200, 'odd dice');
}

/** The outcome; of the first position, of that after each step and of the copies of each: the features, or the outcome. */
function positions(Battle, Dex, command) {
	checkCopies(command, 0);
	const steps = [];
	let estimates, first = null, copies = null;
	const rounded = x => Array.from(x, number => Math.round(number * 1e4) / 1e4);
	const worth = battle => outcome(battle) ?? features(battle, estimates).map(rounded);
	const before = battle => copies = branching(command, battle, steps.length, worth);
	const after = battle => {
		estimates ||= new Estimates(battle.dex);
		if (copies) steps.push({after: worth(battle), copies});
		else first = worth(battle);
		copies = null;
	};
	return {features: NAMES, outcome: walk(Battle, Dex, command, before, after), first, steps};
}

/**
 * The value of the first position, and for each step its turn, who chose, the value after it, and its luck. `Thrown` are
 * the copies' dice: any but `Dice` are there to show what goes wrong with them.
 */
function review(Battle, Dex, command, Thrown) {
	checkCopies(command);
	const value = new Value(command.value), steps = [];
	let estimates, first = null, step = null;
	const worth = battle => outcome(battle) ?? value.of(features(battle, estimates));
	const before = battle => {
		const found = branching(command, battle, steps.length, worth, Thrown);
		const chose = SEATS.filter((seat, s) => battle.sides[s].choice.actions.length);
		step = {turn: battle.turn, chose, expected: found.reduce((sum, each) => sum + each, 0) / found.length};
	};
	const after = battle => {
		estimates ||= new Estimates(battle.dex);
		const now = worth(battle);
		if (step) steps.push({turn: step.turn, chose: step.chose, value: now, luck: now - step.expected});
		else first = now;
		step = null;
	};
	return {outcome: walk(Battle, Dex, command, before, after), first, steps};
}

/** The value of the first position, and each decision with what the other choices would have been worth: see choices.js. */
function choices(Battle, Dex, command) {
	checkCopies({copies: command.table, dice: command.dice});
	check(Number.isInteger(command.fresh) && command.fresh >= 2 && command.fresh <= MOST_FRESH, 'an odd number of dice');
	check(command.least >= 0 && command.least <= 1, 'an odd difference');
	check(Number.isInteger(command.since) && command.since >= 0, 'an odd turn');
	const value = new Value(command.value), decisions = [];
	const made = {p1: 0, p2: 0};
	let estimates, first = null, step = 0;
	const worth = battle => outcome(battle) ?? value.of(features(battle, estimates));
	const before = battle => {
		const chose = SEATS.filter((seat, s) => battle.sides[s].choice.actions.length);
		const found = battle.turn < command.since ? [] : decisionsAt(battle, step, command, worth);
		decisions.push(...found.map(each => ({...each, number: made[each.seat]})));
		for (const seat of chose) made[seat]++;
		step++;
	};
	const after = battle => {
		estimates ||= new Estimates(battle.dex);
		first ??= worth(battle);
	};
	return {outcome: walk(Battle, Dex, command, before, after), first, decisions};
}

module.exports = {choices, positions, review};
