/**
 * The bare simulator for benchmarks/battles.py: random battles as the package's own documentation plays them, one after
 * the other, with its own RandomPlayerAI on both sides.
 *
 * One JSON document a line, both ways: {"battles": 40, "format": …, "seed": 7, "move": 1} is answered with
 * {"turns": …, "cpu_seconds": …, "wall_seconds": …}. `move` is the AI's chance to move where it could switch as well;
 * its default, 1, never switches without need. The process ends when its standard input does.
 */
'use strict';

const path = require('path');
const readline = require('readline');

const simulator = path.join(__dirname, '..', 'shared', 'simulator', 'node_modules', 'pokemon-showdown');
const {BattleStream, getPlayerStreams} = require(simulator);
const {RandomPlayerAI} = require(path.join(simulator, 'dist', 'sim', 'tools', 'random-player-ai'));

const seeded = number => `sodium,${number.toString(16).padStart(32, '0')}`;

async function play(format, seed, move) {
	const streams = getPlayerStreams(new BattleStream());
	for (const [index, seat] of ['p1', 'p2'].entries()) {
		void new RandomPlayerAI(streams[seat], {seed: seeded(seed + 1 + index), move}).start();
	}
	void streams.omniscient.write(
		`>start ${JSON.stringify({formatid: format, seed: seeded(seed)})}\n` +
		`>player p1 ${JSON.stringify({name: 'first', seed: seeded(seed + 3)})}\n` +
		`>player p2 ${JSON.stringify({name: 'second', seed: seeded(seed + 4)})}`
	);
	let turns = 0;
	for await (const chunk of streams.omniscient) {
		for (const line of chunk.split('\n')) if (line.startsWith('|turn|')) turns++;
	}
	return turns;
}

async function obey(line) {
	const {battles, format, seed, move} = JSON.parse(line);
	const cpu = process.cpuUsage();
	const started = process.hrtime.bigint();
	let turns = 0;
	for (let index = 0; index < battles; index++) turns += await play(format, 5 * (seed + index), move);
	const {user, system} = process.cpuUsage(cpu);
	const wall = Number(process.hrtime.bigint() - started);
	console.log(JSON.stringify({turns, cpu_seconds: (user + system) / 1e6, wall_seconds: wall / 1e9}));
}

(async () => {
	for await (const line of readline.createInterface({input: process.stdin})) await obey(line);
})();
