/**
 * Runs the official Showdown server of the installed npm package, as `node … FOLDER PORT PROCESSES ADDRESS`.
 *
 * The server writes into its own folder (config, logs, chat plugins' files), so FOLDER becomes a small copy of it: the
 * big read-only parts are links, which --preserve-symlinks lets it take for its own. It listens on ADDRESS only, makes
 * no requests to other hosts, and knows no rate limits. PROCESSES is `one`, or `several` as the server comes: it then has
 * children for the network, for battles and more, which end with it.
 * The process ends, and removes FOLDER, when told to or when its standard input ends: it never outlives its parent.
 */
'use strict';

const fs = require('fs');
const path = require('path');

const [folder, port, processes, address] = process.argv.slice(2);
const packageFolder = path.dirname(require.resolve('pokemon-showdown/package.json'));

const CONFIG = {
	port: Number(port),
	bindaddress: address,
	...(processes === 'one' && {subprocesses: 0}),
	noNetRequests: true,
	repl: false,
	backdoor: false,
	consoleips: [],
	watchconfig: false,
	autolockdown: false,
	loguserstats: 0,
	reportjoins: false,
	reportbattles: false,
	nobattlesearch: true,
};

for (const made of ['config/chat-plugins', 'logs/repl']) fs.mkdirSync(path.join(folder, made), {recursive: true});
for (const linked of ['data', 'dist', 'server', 'package.json']) {
	fs.symlinkSync(path.join(packageFolder, linked), path.join(folder, linked));
}
fs.symlinkSync(path.dirname(packageFolder), path.join(folder, 'node_modules'));
fs.writeFileSync(path.join(folder, 'config', 'config.js'), `module.exports = ${JSON.stringify(CONFIG)};\n`);

process.chdir(folder);
// Not where it fails: what it said then lies in FOLDER, too, and the parent reads it.
process.on('exit', code => code || fs.rmSync(folder, {recursive: true, force: true, maxRetries: 3}));
process.stdin.on('end', () => process.exit(0)).resume();
process.on('SIGTERM', () => process.exit(0));
// The server survives what its plugins throw, but a server that cannot listen is none.
process.on('uncaughtException', error => {
	if (error.syscall !== 'listen') return;
	console.error(error.message);
	process.exit(1);
});

// Guests under any name, no throttling, no checks of addresses. The server looks for this in the command line.
process.argv.push('--no-security');
require(path.join(folder, 'dist', 'server', 'index.js'));
