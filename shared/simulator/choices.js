/**
 * What each side could have chosen at a step, and what that would have been worth.
 *
 * All pairs of choices are played on copies, with a die or a few each: a table of values. A choice is weighed by its
 * mean over the opponent's plausible choices (PLAUSIBLE says how likely each is taken to be). Where another one is better
 * by `least` or more, the best meets the one made again on fresh dice, so that the best of many noisy figures does not
 * pass for more than it is: against plausible choices, which is what the player could have known, and against the one
 * that the opponent made, which is hindsight. Where none is, the decision counts as having cost nothing.
 */
'use strict';

const {Dice, branchOf} = require('./branch.js');

/** How likely an opponent is to make a choice, in proportion; each of its moves without anything counts 1. */
const PLAUSIBLE = {move: 1, gimmick: 0.25, switch: 0.25};
/** And a choice that gives it so much less of a chance to win than its best one is e times less likely. */
const SHARPNESS = 0.1;
/** On so many of the fresh dice a choice must win at once, against plausible choices and the one made, to be said to. */
const MOSTLY = 0.75;
const NOTHING = [0, 0];
const GIMMICKS = {
	canTerastallize: 'terastallize', canMegaEvo: 'mega', canMegaEvoX: 'megax', canMegaEvoY: 'megay',
	canUltraBurst: 'ultra', canZMove: 'zmove', canDynamax: 'dynamax',
};

/** All texts that may be legal choices of a side, each with how plausible it is. */
function texts(side) {
	const {teamPreview, active} = side.activeRequest;
	const slots = side.pokemon.map((_, at) => at + 1);
	if (teamPreview) return slots.map(slot => [`team ${slot}`, PLAUSIBLE.move]);
	const found = [];
	if (active) {
		const words = Object.keys(GIMMICKS).filter(field => active[0][field]).map(field => GIMMICKS[field]);
		active[0].moves.forEach((_, at) => {
			found.push([`move ${at + 1}`, PLAUSIBLE.move]);
			for (const word of words) found.push([`move ${at + 1} ${word}`, PLAUSIBLE.gimmick]);
		});
	}
	for (const slot of slots) found.push([`switch ${slot}`, PLAUSIBLE.switch]);
	return found;
}

/** The choices of a side as the simulator takes them, the one that it has made first. It stays made. */
function choicesOf(side) {
	const made = side.choice, options = new Map();
	const take = weight => {
		const order = side.getChoice();
		if (!options.has(order)) options.set(order, {order, name: nameOf(side), choice: side.choice, weight: 0});
		options.get(order).weight ||= weight;
	};
	take(0);
	if (side.requestState && made.actions.length) {
		for (const [text, weight] of texts(side)) {
			side.clearChoice();
			if (side.choose(text)) take(weight);
		}
		side.choice = made;
	}
	return [...options.values()];
}

/** What a player would call it: the move, or the Pokémon that comes in. */
function nameOf(side) {
	const [action] = side.choice.actions;
	if (!action) return '';
	if (action.choice === 'move') return side.battle.dex.moves.get(action.moveid).name;
	return (action.choice === 'team' ? action.pokemon : action.target)?.species.name ?? '';
}

/** What stands on each side before a step. */
function standing(battle) {
	return battle.sides.map(side => {
		const pokemon = side.active[0];
		const boosts = pokemon && Object.fromEntries(Object.entries(pokemon.boosts).filter(([, stages]) => stages));
		return {
			name: pokemon?.species.name ?? '', hp: pokemon ? Math.ceil(100 * pokemon.hp / pokemon.maxhp) : 0,
			status: pokemon?.status ?? '', boosts: boosts ?? {}, left: side.pokemonLeft,
		};
	});
}

/**
 * The decisions of a step in which there was something to choose. Of each side: its choices, the one made first, with what
 * each is worth to it by the table; which other one is best (0: none is clearly better), the difference that it makes on
 * `fresh` further dice, and whether it would most likely have won the battle at once.
 */
function decisionsAt(battle, step, {dice, table, fresh, least}, worth) {
	const options = battle.sides.map(choicesOf);
	if (options.every(each => each.length < 2)) return [];
	const play = (first, second, text) => {
		const made = battle.sides.map(side => side.choice);
		[battle.sides[0].choice, battle.sides[1].choice] = [first.choice, second.choice];
		const branch = branchOf(battle, new Dice(`${dice}/${step}/${text}`));
		[battle.sides[0].choice, battle.sides[1].choice] = made;
		branch.commitChoices();
		return worth(branch);
	};
	const values = options[0].map((first, row) => options[1].map((second, column) => {
		let sum = 0;
		for (let die = 0; die < table; die++) sum += play(first, second, `table/${row}/${column}/${die}`);
		return sum / table;
	}));
	const position = standing(battle);
	return battle.sides.flatMap((side, s) => {
		if (options[s].length < 2) return [];
		const own = value => s ? 1 - value : value;
		const at = (row, column) => own(s ? values[column][row] : values[row][column]);
		const mine = normal(options[s].map(({weight}) => weight));
		const left = options[1 - s].map((_, column) => mine.reduce((sum, weight, row) => sum + weight * at(row, column), 0));
		const worst = Math.min(...left);
		const weights = normal(options[1 - s].map(({weight}, column) => weight * Math.exp((worst - left[column]) / SHARPNESS)));
		const worths = options[s].map((_, row) => weights.reduce((sum, weight, column) => sum + weight * at(row, column), 0));
		let best = 1;
		for (let row = 2; row < worths.length; row++) if (worths[row] > worths[best]) best = row;
		const met = (what, opponent) => Array.from({length: fresh}, (_, die) => [0, best].map(row => {
			const pair = [options[s][row], options[1 - s][opponent(die)]];
			return own(play(...(s ? pair.reverse() : pair), `${side.id}/${what}/${die}`));
		}));
		const found = {
			step, seat: side.id, turn: battle.turn, request: battle.requestState, position,
			options: options[s].map(({order, name}, row) => ({order, name, value: worths[row], hindsight: at(row, 0)})),
			best: 0, loss: NOTHING, hindsight: NOTHING, wins: false,
		};
		if (worths[best] - worths[0] < least && at(best, 0) < 1) return [found];
		const known = met('known', die => drawn(weights, (die + 0.5) / fresh)), made = met('made', () => 0);
		const wins = made.some(([mine]) => mine < 1) &&
			[known, made].every(pairs => pairs.filter(([, other]) => other === 1).length >= MOSTLY * fresh);
		return [{...found, best, loss: difference(known), hindsight: difference(made), wins}];
	});
}

/** Weights that sum to 1. */
function normal(weights) {
	const sum = weights.reduce((total, weight) => total + weight, 0);
	return weights.map(weight => sum ? weight / sum : 1 / weights.length);
}

/** Which of them lies at this share of all. */
function drawn(weights, share) {
	let at = 0;
	for (let sum = weights[0]; at < weights.length - 1 && sum <= share; sum += weights[++at]);
	return at;
}

/** By how much the second is more than the first: the mean, and its standard error. */
function difference(pairs) {
	const mean = pairs.reduce((sum, [first, second]) => sum + second - first, 0) / pairs.length;
	const squares = pairs.reduce((sum, [first, second]) => sum + (second - first - mean) ** 2, 0);
	return [mean, Math.sqrt(squares / (pairs.length - 1) / pairs.length)];
}

module.exports = {decisionsAt};
