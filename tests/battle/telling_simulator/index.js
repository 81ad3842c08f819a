/**
 * The installed simulator, whose battles also tell tests what they hold inside.
 *
 * The host takes it for another build of the simulator (`Simulator(build=…)`). After each update, p1 gets one more line,
 * `|inside|JSON`: both sides as they are, and which orders the simulator would take of each side that it asks. A team
 * that is named `odd SEED` is made up of any species, moves, abilities and items of the generation.
 */
'use strict';
const path = require('path');
const real = require(path.resolve(__dirname, '../../../shared/simulator/node_modules/pokemon-showdown'));
const {Dex, PRNG} = real;

/** What may stand behind a move, by generation. */
const GIMMICKS = {
	6: [' mega', ' megax', ' megay'], 7: [' mega', ' megax', ' megay', ' ultra', ' zmove'], 8: [' dynamax'],
	9: [' mega', ' megax', ' megay', ' terastallize'],
};

class Battle extends real.Battle {
	setPlayer(seat, options) {
		const odd = /^odd (\d+)$/.exec(options.team || '');
		super.setPlayer(seat, odd ? {...options, team: oddTeam(this.dex, Number(odd[1]))} : options);
	}

	sendUpdates() {
		const news = this.sentLogPos < this.log.length;
		super.sendUpdates();
		if (news && !this.ended) this.send('sideupdate', `p1\n|inside|${JSON.stringify(this.inside())}`);
	}

	inside() {
		const {field} = this;
		return {
			turn: this.turn, weather: field.weather, terrain: field.terrain, pseudo: Object.keys(field.pseudoWeather),
			sides: Object.fromEntries(this.sides.map(side => [side.id, {
				active: side.active[0] && pokemon(side.active[0]),
				team: side.pokemon.map(pokemon),
				conditions: Object.fromEntries(Object.entries(side.sideConditions).map(([id, state]) => [id, state.layers || 1])),
				orders: this.orders(side),
				struggles: !!side.active[0] && !side.active[0].getMoves().length,
			}])),
		};
	}

	/** Each order that the simulator would take, and why it takes no other: chosen, and undone again. */
	orders(side) {
		const request = side.activeRequest;
		if (!request || request.wait) return null;
		const slots = side.pokemon.map((_, index) => index + 1);
		const orders = request.teamPreview ? slots.map(slot => `team ${slot}`) : slots.map(slot => `switch ${slot}`);
		if (request.active) for (const slot of [1, 2, 3, 4]) {
			orders.push(...['', ...GIMMICKS[this.gen] || []].map(gimmick => `move ${slot}${gimmick}`));
		}
		const {send} = this;
		const kept = JSON.stringify(request);
		const flags = side.pokemon.map(({maybeDisabled, maybeLocked, switchFlag}) => ({maybeDisabled, maybeLocked, switchFlag}));
		const answers = {};
		let said;
		this.send = (type, data) => { if (data.includes('|error|')) said = data.split('|error|')[1]; };
		for (const order of orders) {
			said = '';
			answers[order] = side.choose(order) === true ? true : said;
			side.clearChoice();
			side.activeRequest = JSON.parse(kept);
			side.pokemon.forEach((each, index) => Object.assign(each, flags[index]));
		}
		this.send = send;
		side.activeRequest = request;
		return answers;
	}
}

function pokemon(each) {
	return {
		name: each.name, species: each.species.name, base: each.baseSpecies.name, level: each.level,
		types: each.getTypes(), hp: each.hp, maxhp: each.maxhp, status: each.status, fainted: each.fainted,
		ability: each.ability, baseAbility: each.baseAbility, item: each.item, boosts: each.boosts, volatiles: Object.fromEntries(
			Object.entries(each.volatiles).map(([id, state]) => [id, {
				layers: state.layers, move: state.move, stat: state.bestStat, duration: state.duration, fallen: state.fallen,
				by: state.sourceEffect && state.sourceEffect.id,
			}])),
		teraType: each.teraType, terastallized: each.terastallized || '', transformed: each.transformed,
		illusion: each.illusion ? each.illusion.name : null, isActive: each.isActive, trapped: each.trapped,
		moves: each.moveSlots.map(slot => ({id: slot.id, pp: slot.pp, maxpp: slot.maxpp})),
		ownMoves: each.baseMoveSlots.map(slot => slot.id),
	};
}

const official = entry => entry.num > 0 && !['CAP', 'Custom', 'LGPE', 'Future', 'Gigantamax', 'Unobtainable'].includes(entry.isNonstandard);

function oddTeam(dex, seed) {
	const prng = PRNG.get(`sodium,${seed.toString(16).padStart(32, '0')}`);
	const among = table => table.all().filter(entry => official(entry) && entry.gen <= dex.gen);
	const species = among(dex.species).filter(entry => !entry.battleOnly && !entry.isMega);
	const abilities = among(dex.abilities), items = among(dex.items);
	const moves = among(dex.moves).filter(move => !move.isZ && !move.isMax && move.id !== 'struggle');
	const odd = moves.filter(move => move.category === 'Status' || move.onHit || move.selfSwitch || move.self ||
		move.volatileStatus || move.flags.charge || move.flags.recharge);
	const plain = moves.filter(move => !odd.includes(move));
	const types = dex.types.all().filter(type => !type.isNonstandard).map(type => type.name);
	const team = [];
	for (let size = prng.random(3, 7); team.length < size;) {
		const kind = prng.sample(species);
		// A log tells Pokémon apart by name.
		if (team.some(each => dex.species.get(each.species).baseSpecies === kind.baseSpecies)) continue;
		const needed = kind.requiredItems;
		const own = Object.values(kind.abilities);
		const chosen = new Set();
		while (chosen.size < 4) chosen.add(prng.sample(prng.randomChance(3, 4) ? odd : plain).name);
		team.push({
			name: '', species: kind.name, moves: [...chosen], nature: 'Serious', gender: kind.gender || prng.sample(['M', 'F']),
			ability: dex.gen < 3 ? 'No Ability' : needed || prng.randomChance(1, 2) ? own[0] : prng.sample(abilities).name,
			item: needed ? prng.sample(needed) : dex.gen < 2 || prng.randomChance(1, 5) ? '' : prng.sample(items).name,
			level: prng.random(40, 101), happiness: prng.random(256), teraType: prng.sample(types),
			gigantamax: prng.randomChance(1, 2),
		});
	}
	return team;
}

module.exports = {...real, Battle};
