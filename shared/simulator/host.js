/**
 * Plays many battles at once on the official simulator, over standard input and output.
 *
 * Started as `node host.js [DIR]`; DIR is another build of the simulator than the one installed beside this file.
 *
 * One JSON document a line, both ways. Commands:
 *   {"start": ID, "format": …, "seed": …, "p1": {"name", "seed" | "team"}, "p2": {…}}
 *   {"choose": ID, "p1": "move 1", "p2": "switch 3"}      one side or both; "forfeit" gives the battle up
 *   {"abandon": ID}
 *   {"validate": ID, "format": …, "team": "an export or packed team"}
 *   {"again": ID, "start": {…}, "inputs": [["player", "p1", {…}], ["choose", "p1", "move 1"], …]}   see again.js
 *   {"positions": ID, "start": {…}, "inputs": […], "copies": 6, "dice": "…"}                      see review.js
 *   {"review": ID, "start": {…}, "inputs": […], "value": {…}, "copies": 6, "dice": "…"}
 *   {"search": ID, "known": {…}, "rows": ["move 1", …], "value": {…}, "worlds": 4, "dice": 2, "copies": 400, "text": "…"}
 *                                                                                                see search.js
 *   {"choices": ID, "start": {…}, "inputs": […], "value": {…}, "dice": "…", "table": 1, "fresh": 16, "least": 0.03,
 *    "since": 0}
 * Answers:
 *   {"hello": {"simulator": …, "node": …}}                 once
 *   {"battle": ID, "log": "lines", "p1": request, "p2": request, "private": […], "errors": […], "end": {…}}
 *   {"battle": ID, "broken": "why"}
 *   {"validated": ID, "team": "packed", "problems": […]}
 *   {"again": ID, "frames": [{"log": […], "errors": […], "p1": request, "p2": request}, …]}     one for each input
 *   {"positions": ID, "features": […], "outcome": 1, "first": […], "steps": [{"after", "copies"}, …]}
 *   {"review": ID, "outcome": 1, "first": 0.5, "steps": [{"turn", "chose", "value", "luck"}, …]}
 *   {"search": ID, "worlds": [{"columns", "dice", "values"}, …], "glances": […], "missing": […], "played": 312}
 *   {"choices": ID, "outcome": 1, "first": 0.5, "decisions": [{"step", "seat", "options", "best", "loss", …}, …]}
 *   {"again": ID, "refused": "why"}                                                 and so for the four above
 *
 * Battle objects are used directly, not through BattleStream: its text commands include `>eval`, and splitting the log
 * for five channels costs a tenth of the CPU. Requests are spliced into the answer as the text that the simulator made.
 * The process ends when its standard input does, so that it never outlives the worker that started it.
 */
'use strict';

const path = require('node:path');

const build = process.argv[2] ? path.resolve(process.argv[2]) : 'pokemon-showdown';
const {Battle, Dex, TeamValidator, Teams} = require(build);
const {version} = require(`${build}/package.json`);
const {runAgain} = require('./again.js');
const {choices, positions, review} = require('./review.js');
const {search} = require('./search.js');

const SEATS = ['p1', 'p2'];
const battles = new Map();

/** What the simulator said since the last answer, for one battle. */
class Hosted {
	constructor(id, command) {
		// The simulator would play an unknown format as a game without rules.
		if (!Dex.formats.get(command.format).exists) throw new Error(`there is no format ${command.format}`);
		this.id = id;
		this.clear();
		this.battle = new Battle({
			formatid: command.format,
			seed: command.seed,
			send: (type, data) => this.hear(type, data),
		});
		for (const seat of SEATS) this.battle.setPlayer(seat, command[seat]);
		this.answer();
	}

	clear() {
		this.log = [];
		this.requests = {};
		this.private = [];
		this.errors = [];
		this.end = null;
	}

	hear(type, data) {
		if (type === 'update') {
			this.log.push(...data);
		} else if (type === 'sideupdate') {
			const seat = data.slice(0, 2);
			const line = data.slice(3);
			if (line.startsWith('|request|')) this.requests[seat] = line.slice(9);
			else if (line.startsWith('|error|')) this.errors.push([seat, line.slice(7)]);
			else this.private.push([seat, line]);
		} else if (type === 'end') {
			this.end = {winner: this.battle.winner, turns: this.battle.turn, inputLog: this.battle.inputLog};
		}
	}

	choose(command) {
		const forfeits = SEATS.filter(seat => command[seat] === 'forfeit');
		if (forfeits.length) {
			this.forfeit(forfeits);
		} else {
			for (const seat of SEATS) {
				if (command[seat] !== undefined) this.battle.choose(seat, command[seat]);
			}
		}
		this.answer();
	}

	/** As BattleStream does it, so that the input log plays the same battle there. */
	forfeit(seats) {
		if (seats.length === 2) {
			this.battle.tie();
			this.battle.inputLog.push('>forcetie');
		} else {
			this.battle.lose(seats[0]);
			this.battle.inputLog.push(`>forcelose ${seats[0]}`);
		}
	}

	answer() {
		this.battle.sendUpdates();
		let text = `{"battle":${this.id},"log":${JSON.stringify(this.log.join('\n'))}`;
		for (const seat of SEATS) {
			if (this.requests[seat]) text += `,"${seat}":${this.requests[seat]}`;
		}
		if (this.private.length) text += `,"private":${JSON.stringify(this.private)}`;
		if (this.errors.length) text += `,"errors":${JSON.stringify(this.errors)}`;
		if (this.end) text += `,"end":${JSON.stringify(this.end)}`;
		write(text + '}');
		if (this.end) remove(this.id);
		else this.clear();
	}
}

function write(text) {
	process.stdout.write(text + '\n');
}

function remove(id) {
	const hosted = battles.get(id);
	battles.delete(id);
	if (hosted) hosted.battle.destroy();
}

function validate(command) {
	const id = command.validate;
	const team = Teams.import(command.team);
	if (!team || !team.length) {
		return write(JSON.stringify({validated: id, team: null, problems: ['There is no Pokémon in this team.']}));
	}
	const problems = TeamValidator.get(command.format).validateTeam(team);
	write(JSON.stringify({validated: id, team: problems ? null : Teams.pack(team), problems: problems || []}));
}

/** What is done in one go: the fields of the answer, as JSON without its braces. */
const IN_ONE_GO = {
	again: command => `"frames":${runAgain(Battle, Dex, command)}`,
	positions: command => JSON.stringify(positions(Battle, Dex, command)).slice(1, -1),
	choices: command => JSON.stringify(choices(Battle, Dex, command)).slice(1, -1),
	review: command => JSON.stringify(review(Battle, Dex, command)).slice(1, -1),
	search: command => JSON.stringify(search(Battle, Dex, Teams, command)).slice(1, -1),
};

function obey(line) {
	const command = JSON.parse(line);
	if ('validate' in command) {
		try {
			return validate(command);
		} catch (error) {
			return write(JSON.stringify({validated: command.validate, team: null, problems: [String(error.message)]}));
		}
	}
	for (const name of Object.keys(IN_ONE_GO)) {
		if (!(name in command)) continue;
		try {
			return write(`{"${name}":${Number(command[name])},${IN_ONE_GO[name](command)}}`);
		} catch (error) {
			return write(JSON.stringify({[name]: command[name], refused: String((error && error.message) || error)}));
		}
	}
	if ('abandon' in command) return remove(command.abandon);
	const id = 'start' in command ? command.start : command.choose;
	try {
		if ('start' in command) battles.set(id, new Hosted(id, command));
		else if (battles.has(id)) battles.get(id).choose(command);
	} catch (error) {
		remove(id);
		write(JSON.stringify({battle: id, broken: String((error && error.message) || error)}));
	}
}

let pending = '';
process.stdin.setEncoding('utf8');
process.stdin.on('data', chunk => {
	const lines = (pending + chunk).split('\n');
	pending = lines.pop();
	for (const line of lines) if (line) obey(line);
});
process.stdin.on('end', () => process.exit(0));
process.stdout.on('error', () => process.exit(0));
// Ctrl-C reaches the whole foreground group; the parent decides when this process ends.
process.on('SIGINT', () => {});
process.on('SIGHUP', () => {});
process.on('SIGTERM', () => {});

Dex.includeFormats();
write(JSON.stringify({hello: {simulator: version, node: process.versions.node}}));
