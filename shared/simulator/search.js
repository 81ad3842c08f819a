/**
 * Looks one turn ahead: the value of each pair of own and opposing actions, in several worlds.
 *
 * Every world is a full position in keeping with what one player knows (worlds.js). A pair is played on in copies, each
 * with other dice, up to the next choice, and valued by the model. All pairs of a world meet the same dice, so that what
 * differs between them is less luck. How many copies may be played is counted, not timed: the same question has the same
 * answer everywhere.
 */
'use strict';

const {check} = require('./again.js');
const {Dice, branchOf} = require('./branch.js');
const {Estimates, features} = require('./position.js');
const {Value} = require('./value.js');
const {Draws, world} = require('./worlds.js');

const MOST_WORLDS = 16;
const MOST_DICE = 16;
const MOST_COPIES = 100000;
const draws = new Map();

/** One world as a game of two: rows are the own actions as asked for, columns the opponent's, as it has them there. */
class Game {
	constructor(battle, value, dice) {
		this.battle = battle;
		this.value = value;
		this.dice = dice;
		this.estimates = new Estimates(battle.dex);
		this.found = new Map();
		this.columns = theirActions(battle);
		this.played = 0;
	}

	/** The mean value for p1 over the first `dice` dice. */
	worth(row, column, dice) {
		const key = `${row}/${column}`;
		let found = this.found.get(key);
		if (!found) this.found.set(key, found = []);
		while (found.length < dice) found.push(this.play(row, column, found.length));
		return found.slice(0, dice).reduce((sum, each) => sum + each, 0) / dice;
	}

	play(row, column, die) {
		const [own, foe] = this.battle.sides;
		for (const side of this.battle.sides) side.clearChoice();
		check(own.choose(row), `an action that cannot be taken: ${row}`);
		if (column !== 'wait') check(foe.choose(column), `an action that cannot be taken: ${column}`);
		const branch = branchOf(this.battle, new Dice(`${this.dice}/${die}`));
		branch.commitChoices();
		this.played += 1;
		if (branch.ended) return branch.winner === 'own' ? 1 : branch.winner === 'foe' ? 0 : 0.5;
		return this.value.of(features(branch, this.estimates));
	}
}

function theirActions(battle) {
	const side = battle.sides[1], request = side.activeRequest;
	if (!request || request.wait) return {moves: ['wait'], tera: [], switches: []};
	const bench = side.pokemon.map((pokemon, at) => [pokemon, at + 1]).filter(([pokemon]) => !pokemon.isActive && pokemon.hp > 0);
	const switches = bench.map(([, slot]) => `switch ${slot}`);
	if (request.forceSwitch) return {moves: [], tera: [], switches: switches.length ? switches : ['pass']};
	const active = request.active[0];
	const moves = active.moves.flatMap((move, at) => move.disabled ? [] : [`move ${at + 1}`]);
	return {
		moves,
		tera: active.canTerastallize ? moves.map(move => `${move} terastallize`) : [],
		switches: active.trapped ? [] : switches,
	};
}

const mean = numbers => numbers.reduce((sum, each) => sum + each, 0) / numbers.length;

/** The `most` names with the least of `worth`, in the order in which they stand. */
function least(names, most, worth) {
	const sorted = names.map(name => [worth(name), name]).sort((one, other) => one[0] - other[0]).slice(0, most);
	const kept = new Set(sorted.map(([, name]) => name));
	return names.filter(name => kept.has(name));
}

/** Plays the pairs that matter: fewer where the copies do not reach. */
function explore(games, {rows, dice, copies, mid_turn: midTurn}) {
	const plain = rows.filter(row => !row.endsWith(' terastallize')), tera = rows.filter(row => row.endsWith(' terastallize'));
	const each = Math.floor(copies / games.length);
	// A first look, one die: every own action against the opponent's moves.
	for (const game of games) {
		const {moves, switches} = game.columns;
		game.chosen = moves.length ? moves : switches;
	}
	const first = row => mean(games.map(game => mean(game.chosen.map(column => game.worth(row, column, 1)))));
	const order = plain.map(row => [first(row), row]).sort((one, other) => other[0] - one[0]);
	const best = order.slice(0, 3).map(([, row]) => row);
	const played = plain.length + Math.min(2, tera.length);
	for (const game of games) {
		const {moves, tera: theirTera, switches} = game.columns;
		if (!moves.length || moves[0] === 'wait') continue;
		const threat = column => mean(best.map(row => game.worth(row, column, 1)));
		const room = Math.max(0, Math.floor(each / played) - moves.length);
		if (switches.length && !midTurn) game.chosen = [...game.chosen, ...least(switches, Math.min(2, room), threat)];
		if (theirTera.length && room > 2) {
			const [hardest] = least(moves, 1, threat);
			if (hardest) game.chosen.push(`${hardest} terastallize`);
		}
	}
	const moving = order.map(([, row]) => row).filter(row => tera.includes(`${row} terastallize`));
	const kept = new Set([...plain, ...moving.slice(0, 2).map(row => `${row} terastallize`)]);
	const looked = rows.filter(row => kept.has(row));
	return games.map(game => {
		const pairs = looked.length * game.chosen.length;
		const throws = Math.max(1, Math.min(dice, Math.floor(each / pairs)));
		return {
			columns: game.chosen,
			dice: throws,
			values: rows.map(row => kept.has(row) ? game.chosen.map(column => game.worth(row, column, throws)) : null),
		};
	});
}

/**
 * What each own action (`rows`, in Showdown's words) is worth against each of the opponent's, world by world; null for
 * actions that were not looked at. `missing` says of the others why they could not be built.
 */
function search(Battle, Dex, Teams, command) {
	const {known, value, worlds, dice, copies, text} = command;
	check(Number.isInteger(worlds) && worlds >= 1 && worlds <= MOST_WORLDS, 'an odd number of worlds');
	check(Number.isInteger(dice) && dice >= 1 && dice <= MOST_DICE, 'an odd number of dice');
	check(Number.isInteger(copies) && copies >= 1 && copies <= MOST_COPIES, 'an odd number of copies');
	if (!draws.has(known.format)) draws.set(known.format, new Draws(Teams, Dex, known.format));
	const model = new Value(value), games = [], missing = [];
	for (let at = 0; at < worlds; at++) {
		const game = attempt(() => {
			const game = new Game(world(Battle, draws.get(known.format), known, `${text}/${at}`), model, text);
			for (const row of command.rows) {
				game.battle.sides[0].clearChoice();
				check(game.battle.sides[0].choose(row), `an action that cannot be taken: ${row}`);
			}
			return game;
		}, missing);
		if (game) games.push(game);
	}
	if (!games.length) return {worlds: [], missing, played: 0};
	const found = explore(games, {...command, mid_turn: known.mid_turn});
	return {worlds: found, missing, played: games.reduce((sum, game) => sum + game.played, 0)};
}

function attempt(build, missing) {
	try {
		return build();
	} catch (error) {
		missing.push(String((error && error.message) || error));
		return null;
	}
}

module.exports = {search};
