/**
 * Runs a finished battle again from its input log, in one go.
 *
 * An input log is a stranger's text. What may be done with it stands in INPUTS and nowhere else: players with checked
 * fields, choices of a checked form, and an end by decree. There is no way from here to the simulator's console.
 */
'use strict';

const SEATS = ['p1', 'p2'];
const FORMAT = /^[a-z0-9]{1,60}$/;
const SEED = /^(?:(?:sodium|gen5),[0-9a-f]{1,64}|\d{1,5}(?:,\d{1,5}){3})$/;
const CHOICE = /^(?:move|switch|team|pass|default)(?: [A-Za-z0-9 ,'+-]{1,100})?$/;
const TEXT = /^[^\x00-\x1f\x7f|]*$/;
const MOST_INPUTS = 20000;
const MOST_OUTPUT_CHARACTERS = 16 * 1024 * 1024;

function check(holds, what) {
	if (!holds) throw new Error(`the input log holds ${what}, which is not run`);
}

function text(value, most, what) {
	check(typeof value === 'string' && value.length <= most && TEXT.test(value), what);
	return value;
}

function seed(value) {
	const plain = Array.isArray(value) ? value.join(',') : value;
	check(typeof plain === 'string' && SEED.test(plain), 'a seed of another form');
	return value;
}

function startOptions(start) {
	check(start && FORMAT.test(start.formatid), 'a format of another form');
	const options = {formatid: start.formatid, seed: seed(start.seed)};
	if (start.rated !== undefined) options.rated = start.rated === true || text(start.rated, 100, 'an odd rating');
	return options;
}

function playerOptions(given) {
	check(given && typeof given === 'object', 'a player of another form');
	const options = {name: text(given.name, 40, 'an odd name')};
	if (given.avatar !== undefined) options.avatar = text(given.avatar, 60, 'an odd avatar');
	if (given.rating !== undefined) {
		check(Number.isFinite(given.rating) || typeof given.rating === 'string', 'an odd rating');
		options.rating = typeof given.rating === 'string' ? text(given.rating, 20, 'an odd rating') : given.rating;
	}
	if (given.seed !== undefined) options.seed = seed(given.seed);
	if (given.team !== undefined) {
		check(typeof given.team === 'string' && given.team.length <= 20000 && !/[\r\n]/.test(given.team), 'an odd team');
		options.team = given.team;
	}
	return options;
}

function choice(value) {
	check(typeof value === 'string' && CHOICE.test(value), 'a choice of another form');
	return value;
}

const INPUTS = {
	player: (battle, seat, given) => battle.setPlayer(seat, playerOptions(given)),
	choose: (battle, seat, given) => battle.choose(seat, choice(given)),
	undo: (battle, seat) => battle.undoChoice(seat),
	forcewin: (battle, seat) => battle.win(seat),
	forcelose: (battle, seat) => battle.lose(seat),
	forcetie: battle => battle.win(null),
};

/**
 * The frames of a battle run again: for each input, in order, what the simulator said: log lines, requests, refusals.
 * Each is a list of JSON texts to be joined, since requests are spliced in as the simulator wrote them.
 */
function runAgain(Battle, Dex, command) {
	check(Array.isArray(command.inputs) && command.inputs.length <= MOST_INPUTS, 'too many lines');
	const start = startOptions(command.start);
	check(Dex.formats.get(start.formatid).exists, `the unknown format ${start.formatid}`);
	const frames = [];
	let frame, characters = 0;
	const fresh = () => ({log: [], requests: {}, errors: []});
	const hear = (type, data) => {
		if (type === 'update') {
			frame.log.push(...(Array.isArray(data) ? data : data.split('\n')));
		} else if (type === 'sideupdate') {
			const at = data.slice(0, 2), line = data.slice(3);
			if (line.startsWith('|request|')) frame.requests[at] = line.slice(9);
			else if (line.startsWith('|error|')) frame.errors.push([at, line.slice(7)]);
		}
	};
	frame = fresh();
	const battle = new Battle({...start, send: hear});
	try {
		for (const input of command.inputs) {
			const [what, seat, given] = input;
			check(Object.hasOwn(INPUTS, what) && (what === 'forcetie' || SEATS.includes(seat)), 'a line of another kind');
			INPUTS[what](battle, seat, given);
			battle.sendUpdates();
			const answer = write(frame);
			characters += answer.length;
			check(characters <= MOST_OUTPUT_CHARACTERS, 'a battle without measure');
			frames.push(answer);
			frame = fresh();
		}
		return `[${frames.join(',')}]`;
	} finally {
		battle.destroy();
	}
}

function write(frame) {
	let answer = `{"log":${JSON.stringify(frame.log)},"errors":${JSON.stringify(frame.errors)}`;
	for (const seat of SEATS) {
		if (frame.requests[seat]) answer += `,"${seat}":${frame.requests[seat]}`;
	}
	return answer + '}';
}

module.exports = {INPUTS, MOST_INPUTS, SEATS, check, runAgain, startOptions};
