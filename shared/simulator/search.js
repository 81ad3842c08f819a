/**
 * Looks one turn ahead: the value of each pair of own and opposing actions, in several worlds.
 *
 * Every world is a full position in keeping with what one player knows (worlds.js). A pair is played on in copies, each
 * with other dice, up to the next choice, and valued by the model. How many copies may be played is counted, not timed:
 * the same question has the same answer everywhere.
 */
'use strict';

const {Dice, branchOf} = require('./branch.js');
const {Estimates, features} = require('./position.js');
const {Value} = require('./value.js');
const {Draws, world} = require('./worlds.js');

const MOST_WORLDS = 16;
const MOST_DICE = 16;
const MOST_COPIES = 100000;
/** Own actions that are looked at twice, without the terastallized ones. */
const MOST_ROWS = 4;
/** In the middle of one turn. */
const MOST_SWITCHES = 4;
const TERA = ' terastallize';
const WAIT = 'wait';
/**
 * How likely the opponent takes an action, beside a move that does nothing: e to the SHARPNESS times the share of the HP
 * left that a move takes. Near to what `heuristic` chose in 65 battles: 1.07 nats a choice, where even odds are 1.87.
 */
const SHARPNESS = 3.3, SWITCH = 0.17, SWITCH_SHARPNESS = 0.5, TERA_TOO = 0.15;
/**
 * What an own action must gain to be worth the terastallization, with a whole team; nothing with the last Pokémon. The
 * value model has it from battles of players who hardly use it, to whom keeping it is worth nothing.
 */
const TERA_PRICE = 0.1;
/** Moves of the opponent are met that are as likely as this beside its likeliest. */
const UNLIKELY = 0.05;
const draws = new Map();

/**
 * What the opponent's Pokémon throws is the same whatever the own side does, so that own actions are compared under the
 * same luck; what the own one throws is different in every pair, so that a move that may miss does not miss in all of them.
 */
class TwoHands {
	constructor(own, foe) {
		[this.own, this.foe] = [new Dice(own), new Dice(foe)];
		this.battle = null;
	}

	next() {
		const {activePokemon} = this.battle;
		return (activePokemon && activePokemon.side.n === 0 ? this.own : this.foe).next();
	}

	getSeed() {
		return this.own.getSeed();
	}
}

/** One world as a game of two: rows are the own actions as asked for, columns the opponent's, as it has them there. */
class Game {
	constructor(battle, value, dice) {
		this.battle = battle;
		this.value = value;
		this.dice = dice;
		this.estimates = new Estimates(battle.dex);
		this.found = new Map();
		this.columns = theirActions(battle);
		const first = this.columns.moves.length ? this.columns.moves : this.columns.switches;
		check(first.length, 'the opponent can choose nothing');
		const weights = first.map(column => this.likely(column)), most = Math.max(...weights);
		this.columns.first = first.filter((_, at) => weights[at] >= UNLIKELY * most);
		this.chosen = [];
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
		check(can(own, row), `${row} cannot be chosen`);
		if (column !== WAIT) check(can(foe, column), `${column} cannot be chosen`);
		const dice = new TwoHands(`${this.dice}/${row}/${column}/${die}`, `${this.dice}/${column}/${die}`);
		const branch = dice.battle = branchOf(this.battle, dice);
		branch.commitChoices();
		this.finishTurn(branch);
		this.played += 1;
		if (branch.ended) return branch.winner === 'own' ? 1 : branch.winner === 'foe' ? 0 : 0.5;
		return this.value.of(features(branch, this.estimates));
	}

	/** Whoever leaves in the middle of a turn is replaced by whom the damage speaks for, so that the other side acts, too. */
	finishTurn(branch) {
		for (let times = 0; branch.requestState === 'switch' && branch.queue.list.length && times < MOST_SWITCHES; times++) {
			for (const side of branch.sides) {
				const leaves = side.active[0].switchFlag;
				side.activeRequest = leaves ? {forceSwitch: [true]} : {wait: true};
				side.clearChoice();
				if (leaves && !side.choose(`switch ${this.answerOf(side)}`)) return;
			}
			branch.commitChoices();
		}
	}

	/** The share of the HP left that a move takes on average. */
	share(one, other, id) {
		const hit = this.estimates.hit(this.estimates.move(id), one, other);
		return Math.min(1, hit.share === 'half' ? hit.damage : hit.damage / Math.max(1, other.hp));
	}

	/** How much more a Pokémon takes of the one it would face than that one of it. */
	lead(pokemon) {
		const against = pokemon.side.foe.active[0];
		const most = (one, other) => Math.max(0, ...one.moveSlots.map(({id}) => this.share(one, other, id)));
		return pokemon.hp > 0 ? most(pokemon, against) - most(against, pokemon) : -2;
	}

	answerOf(side) {
		const bench = side.pokemon.map((pokemon, at) => [pokemon.isActive ? -3 : this.lead(pokemon), at + 1]);
		return bench.sort(([one], [other]) => other - one)[0][1];
	}

	/** How likely the opponent takes an action there, up to a factor. */
	likely(column) {
		const [own, foe] = this.battle.sides, [kind, number] = column.split(' ');
		if (kind === 'switch') {
			const forced = !this.columns.moves.length;
			const weight = Math.exp((forced ? SHARPNESS : SWITCH_SHARPNESS) * this.lead(foe.pokemon[number - 1]));
			return forced ? weight : weight * SWITCH;
		}
		if (kind !== 'move') return 1;
		const {id} = foe.activeRequest.active[0].moves[number - 1];
		const weight = Math.exp(SHARPNESS * this.share(foe.active[0], own.active[0], id));
		return column.endsWith(TERA) ? TERA_TOO * weight : weight;
	}
}

function check(holds, what) {
	if (!holds) throw new Error(`${what}, so nothing is searched`);
}

function can(side, choice) {
	side.clearChoice();
	return side.choose(choice);
}

/** What the opponent may do there, as it knows it. */
function theirActions(battle) {
	const found = listed(battle);
	for (const kind of Object.keys(found)) found[kind] = found[kind].filter(name => name === WAIT || can(battle.sides[1], name));
	return found;
}

function listed(battle) {
	const side = battle.sides[1], request = side.activeRequest;
	if (!request || request.wait) return {moves: [WAIT], tera: [], switches: []};
	const bench = side.pokemon.map((pokemon, at) => [pokemon, at + 1]).filter(([pokemon]) => !pokemon.isActive && pokemon.hp > 0);
	const switches = bench.map(([, slot]) => `switch ${slot}`);
	if (request.forceSwitch) return {moves: [], tera: [], switches: switches.length ? switches : ['pass']};
	const active = request.active[0];
	const moves = active.moves.flatMap((move, at) => move.disabled ? [] : [`move ${at + 1}`]);
	return {
		moves,
		tera: active.canTerastallize ? moves.map(move => move + TERA) : [],
		switches: active.trapped ? [] : switches,
	};
}

const mean = numbers => numbers.reduce((sum, each) => sum + each, 0) / numbers.length;

/** The `most` names with the least of `worth`, the least one first. */
function least(names, most, worth) {
	return names.map(name => [worth(name), name]).sort(([one], [other]) => one - other).slice(0, most).map(([, name]) => name);
}

/** Between what an action gets on average and the least of it: the opponent neither knows it nor is sure to do the likely. */
function prospect(game, row) {
	const worths = game.chosen.map(column => game.worth(row, column, 1)), weights = game.chosen.map(column => game.likely(column));
	const expected = worths.reduce((sum, worth, at) => sum + worth * weights[at], 0) / weights.reduce((sum, weight) => sum + weight, 0);
	return (expected + Math.min(...worths)) / 2;
}

/**
 * Plays the pairs that matter. A first look, one die against the opponent's moves, leaves the best own actions; these and
 * their terastallized twins meet what the opponent has best against them, with as many dice as the copies reach for.
 */
function explore(games, {rows, dice, copies, mid_turn: midTurn}) {
	const plain = rows.filter(row => !row.endsWith(TERA)), each = Math.floor(copies / games.length);
	for (const {columns, chosen} of games) chosen.push(...columns.first);
	const first = row => -mean(games.map(game => prospect(game, row)));
	const best = least(plain, MOST_ROWS, first), top = least(plain, 2, first);
	const moving = least(best.filter(row => rows.includes(row + TERA)), 2, first);
	for (const game of games) {
		const {moves, tera, switches} = game.columns;
		if (!moves.length || moves[0] === WAIT) continue;
		const threat = column => mean(top.map(row => game.worth(row, column, 1)));
		if (tera.length && best.length) game.chosen.push(...least(moves, 1, threat).map(move => move + TERA));
		if (!midTurn && each - game.played > switches.length * top.length) game.chosen.push(...least(switches, 1, threat));
	}
	const looked = new Set([...best, ...moving.map(row => row + TERA)]);
	const glances = rows.map(row => mean(games.map(game => mean(game.columns.first.map(column => game.worth(row.replace(TERA, ''), column, 1))))));
	const worlds = games.map(game => {
		const pairs = looked.size * game.chosen.length, seen = best.length * game.chosen.length;
		const throws = Math.max(1, Math.min(dice, Math.floor((each - game.played + seen) / pairs)));
		const others = game.battle.sides[0].pokemon.filter(pokemon => pokemon.hp > 0).length - 1;
		const price = row => row.endsWith(TERA) ? TERA_PRICE * others / 5 : 0;
		const worths = row => game.chosen.map(column => game.worth(row, column, throws) - price(row));
		const expected = game.chosen.map(column => game.likely(column));
		return {columns: game.chosen, expected, dice: throws, values: rows.map(row => looked.has(row) ? worths(row) : null)};
	});
	return {worlds, glances};
}

/**
 * What each own action (`rows`, in Showdown's words) is worth against each of the opponent's, world by world; null for
 * actions that were only glanced at: their means against the opponent's moves are in `glances`, as those of all.
 * `expected` says how likely the opponent takes each of its actions, up to a factor; `missing` why worlds could not be built.
 */
function search(Battle, Dex, Teams, command) {
	const {known, value, worlds, dice, copies, text} = command;
	check(Number.isInteger(worlds) && worlds >= 1 && worlds <= MOST_WORLDS, 'an odd number of worlds is asked for');
	check(Number.isInteger(dice) && dice >= 1 && dice <= MOST_DICE, 'an odd number of dice is asked for');
	check(Number.isInteger(copies) && copies >= 1 && copies <= MOST_COPIES, 'an odd number of copies is asked for');
	if (!draws.has(known.format)) draws.set(known.format, new Draws(Teams, Dex, known.format));
	const model = new Value(value), games = [], missing = [];
	for (let at = 0; at < worlds; at++) {
		const game = attempt(() => {
			const game = new Game(world(Battle, draws.get(known.format), known, `${text}/${at}`), model, `${text}/${at}`);
			for (const row of command.rows) check(can(game.battle.sides[0], row), `${row} cannot be chosen`);
			return game;
		}, missing);
		if (game) games.push(game);
	}
	if (!games.length) return {worlds: [], glances: [], missing, played: 0};
	return {...explore(games, {...command, mid_turn: known.mid_turn}), missing, played: games.reduce((sum, game) => sum + game.played, 0)};
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
