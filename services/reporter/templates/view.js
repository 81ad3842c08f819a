"use strict";
// Shows a film (shared/battle/film.py): both teams, what happened in words, and what the policies thought.
// All that policies, players and logs wrote goes into text nodes; nothing here makes markup from a string.

const SPRITES = "https://play.pokemonshowdown.com/sprites/gen5/";
const SPEEDS = [0.5, 1, 2, 4];
const STATS = { atk: "Atk", def: "Def", spa: "SpA", spd: "SpD", spe: "Spe", accuracy: "Acc", evasion: "Eva" };
const OUTCOMES = {
  chosen: "",
  chosen_after_second_ask: "its second answer",
  only_action: "the only legal action",
  substituted: "substituted",
};

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "on") for (const [event, listener] of Object.entries(value)) made.addEventListener(event, listener);
    else if (key === "style") for (const [property, of] of Object.entries(value)) made.style.setProperty(property, of);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

function drawing(viewBox, ...paths) {
  const made = (name, attributes) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  };
  const svg = made("svg", { viewBox, preserveAspectRatio: "none", "aria-hidden": "true" });
  svg.append(...paths.map(([kind, d]) => made("path", { class: kind, d })));
  return svg;
}

const typeClass = (type) => type.toLowerCase().replace(/[^a-z]/g, "");
const percentage = (share) => (share > 0 && share < 0.005 ? "<1 %" : share < 1 && share > 0.995 ? ">99 %" : `${Math.round(share * 100)} %`);
const seconds = (ms) => (ms >= 1000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms)} ms`);

class BattleView {
  // `film` may grow: call `grown()` then. `moved(view)` is called whenever another step is shown.
  constructor(place, film, { moved = () => {}, live = false, compact = false } = {}) {
    this.film = film;
    this.at = live ? Math.max(0, film.steps.length - 1) : 0;
    this.playing = null;
    this.speed = 1;
    this.sprites = false;
    this.moved = moved;
    this.live = live;
    this._build(place, compact);
    this.show(this.at);
  }

  get turn() {
    return this.film.steps[this.at]?.turn ?? 0;
  }

  show(step) {
    const last = this.film.steps.length - 1;
    this.at = Math.max(0, Math.min(last, step));
    if (last < 0) return;
    const shown = this.film.steps[this.at];
    this.parts.turn.textContent = shown.turn ? `Turn ${shown.turn}` : "Leads";
    this.parts.count.textContent = `step ${this.at + 1} of ${last + 1}`;
    this.parts.slider.max = last;
    this.parts.slider.value = this.at;
    this.parts.slider.setAttribute("aria-valuetext", `${this.parts.turn.textContent}, step ${this.at + 1}`);
    this.parts.field.replaceChildren(...shown.field.map((effect) => element("span", { class: "chip" }, effect)));
    for (const policy of ["p1", "p2"]) this.parts[policy].replaceChildren(...this._side(policy, shown[policy]));
    this.parts.result.hidden = this.at < last || !this.parts.result.textContent;
    this._log();
    this._decisions(shown.turn);
    this._chance();
    this.moved(this);
  }

  goToTurn(turn) {
    const first = this.film.steps.findIndex((step) => step.turn >= turn);
    this.show(first < 0 ? this.film.steps.length - 1 : first);
  }

  play() {
    if (this.playing) return;
    if (this.at >= this.film.steps.length - 1) this.show(0);
    const advance = () => {
      this.show(this.at + 1);
      this.playing = this.at < this.film.steps.length - 1 ? setTimeout(advance, 1200 / this.speed) : null;
      this._playButton();
    };
    this.playing = setTimeout(advance, 400 / this.speed);
    this._playButton();
  }

  pause() {
    clearTimeout(this.playing);
    this.playing = null;
    this._playButton();
  }

  grown() {
    const following = this.live && this.at >= this.shownTo - 1;
    this.shownTo = this.film.steps.length;
    this._header();
    this.show(following ? this.film.steps.length - 1 : this.at);
  }

  key(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1 };
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    if (event.key in steps) this._stop(() => this.show(this.at + steps[event.key]));
    else if (event.key === "[") this._stop(() => this.goToTurn(this.turn - 1));
    else if (event.key === "]") this._stop(() => this.goToTurn(this.turn + 1));
    else if (event.key === "Home") this._stop(() => this.show(0));
    else if (event.key === "End") this._stop(() => this.show(this.film.steps.length - 1));
    else if (event.key === " " && event.target.tagName !== "BUTTON") this.playing ? this.pause() : this.play();
    else return;
    event.preventDefault();
  }

  _stop(then) {
    this.pause();
    then();
  }

  _build(place, compact) {
    const button = (label, text, click) => element("button", { type: "button", "aria-label": label, title: label, on: { click } }, text);
    const parts = (this.parts = {
      title: element("p", { class: "names" }),
      turn: element("strong"),
      count: element("span", { class: "quiet" }),
      field: element("div", { class: "field" }),
      p1: element("section", { class: "side of-p1" }),
      p2: element("section", { class: "side of-p2" }),
      log: element("ol", { class: "told", tabindex: 0, role: "log", "aria-label": "What happened" }),
      decisions: element("div", { class: "decisions" }),
      slider: element("input", { type: "range", min: 0, step: 1, "aria-label": "Step", on: { input: () => this._stop(() => this.show(Number(parts.slider.value))) } }),
      chances: element("div", { class: "chances", hidden: true }),
      play: button("Play", "▶", () => (this.playing ? this.pause() : this.play())),
      result: element("p", { class: "result" }),
    });
    const speed = element("select", { "aria-label": "Speed", on: { change: () => (this.speed = Number(speed.value)) } });
    speed.append(...SPEEDS.map((factor) => element("option", { value: factor, selected: factor === 1 }, `${factor}×`)));
    const sprites = element("input", { type: "checkbox", on: { change: () => { this.sprites = sprites.checked; this.show(this.at); } } });
    const controls = element("div", { class: "controls" },
      button("To the start", "|‹", () => this._stop(() => this.show(0))),
      button("Turn before", "«", () => this._stop(() => this.goToTurn(this.turn - 1))),
      button("Step back", "‹", () => this._stop(() => this.show(this.at - 1))),
      parts.play,
      button("Step on", "›", () => this._stop(() => this.show(this.at + 1))),
      button("Next turn", "»", () => this._stop(() => this.goToTurn(this.turn + 1))),
      button("To the end", "›|", () => this._stop(() => this.show(this.film.steps.length - 1))),
      parts.slider, speed);
    this.root = element("div", { class: compact ? "battle compact" : "battle", tabindex: -1 },
      parts.title,
      element("div", { class: "board" }, parts.p1, element("div", { class: "middle" }, element("p", { class: "when" }, parts.turn, " ", parts.count), parts.field), parts.p2),
      controls, parts.chances, parts.result,
      element("div", { class: "below" }, parts.log, parts.decisions),
      element("p", { class: "more quiet" },
        element("label", {}, sprites, " sprites from Showdown's server"),
        this.film.log && button("Showdown replay", "Save as Showdown replay", () => this._save("html")),
        this.film.log && button("Log", "Save the log", () => this._save("log")),
        element("span", {}, "Keys: ← and → a step, [ and ] a turn, space plays.")));
    this.root.addEventListener("keydown", (event) => this.key(event));
    this.shownTo = this.film.steps.length;
    this._chances();
    this._header();
    place.replaceChildren(this.root);
  }

  _header() {
    const { names, winner, broken } = this.film;
    this.parts.title.replaceChildren(
      element("bdi", { class: "of-p1" }, names.p1), " vs ", element("bdi", { class: "of-p2" }, names.p2));
    const ended = broken ? `Broken: ${broken}` : winner === "draw" ? "A draw." : winner ? `${names[winner]} won.` : "";
    this.parts.result.textContent = ended;
  }

  _playButton() {
    this.parts.play.textContent = this.playing ? "⏸" : "▶";
    this.parts.play.setAttribute("aria-label", this.playing ? "Pause" : "Play");
  }

  _side(policy, side) {
    const active = side.active === null ? null : this.film.pokemon[side.active];
    const bench = side.bench.map((number) => this._token(this.film.pokemon[number]));
    for (let unseen = 0; unseen < side.unseen; unseen++)
      bench.push(element("li", { class: "token unseen", title: "not seen yet" }, "?"));
    return [
      element("h3", {}, element("bdi", {}, this.film.names[policy])),
      active ? this._active(active) : element("p", { class: "quiet" }, "nobody on the field"),
      element("ul", { class: "bench", "aria-label": "The others" }, ...bench),
      element("p", { class: "conditions" }, ...side.conditions.map((name) => element("span", { class: "chip" }, name))),
    ];
  }

  _active(pokemon) {
    const chips = [
      pokemon.status && element("span", { class: `chip status ${typeClass(pokemon.status)}` }, pokemon.status.toUpperCase()),
      pokemon.tera && element("span", { class: "chip" }, `Tera ${pokemon.tera}`),
      ...Object.entries(pokemon.boosts ?? {}).map(([stat, stages]) =>
        element("span", { class: `chip ${stages > 0 ? "up" : "down"}` }, `${STATS[stat] ?? stat} ${stages > 0 ? "+" : "−"}${Math.abs(stages)}`)),
      ...(pokemon.effects ?? []).map((effect) => element("span", { class: "chip" }, effect)),
    ];
    const known = [pokemon.ability && `ability ${pokemon.ability}`, pokemon.item && `item ${pokemon.item}`, pokemon.moves?.join(", ")];
    return element("div", { class: pokemon.hp ? "active" : "active fainted" },
      this._portrait(pokemon, true),
      element("div", { class: "about" },
        element("p", { class: "who" }, element("strong", {}, pokemon.name), pokemon.as && ` as ${pokemon.as}`, element("span", { class: "quiet" }, ` L${pokemon.level}`)),
        element("p", { class: "types" }, ...pokemon.types.map((type) => element("span", { class: `type from-${typeClass(type)}` }, type))),
        this._hp(pokemon),
        element("p", { class: "chips" }, ...chips),
        element("p", { class: "known quiet" }, known.filter(Boolean).join(" · "))));
  }

  _hp(pokemon) {
    const level = pokemon.hp > 50 ? "" : pokemon.hp > 20 ? "half" : "low";
    return element("div", { class: `hp ${level}`, role: "meter", "aria-label": `HP of ${pokemon.name}`, "aria-valuenow": pokemon.hp, "aria-valuemin": 0, "aria-valuemax": 100 },
      element("span", { class: "bar", style: { width: `${pokemon.hp}%` } }), element("span", { class: "number" }, `${pokemon.hp} %`));
  }

  _token(pokemon) {
    const state = pokemon.hp ? `${pokemon.hp} %${pokemon.status ? ` ${pokemon.status}` : ""}` : "fainted";
    return element("li", { class: pokemon.hp ? "token" : "token fainted", title: `${pokemon.name}: ${state}` },
      this._portrait(pokemon, false), element("span", { class: "name" }, pokemon.name), this._hp(pokemon));
  }

  _portrait(pokemon, large) {
    const [first, second] = pokemon.types.map(typeClass);
    const token = element("span", { class: `portrait ${large ? "large" : ""} from-${first} to-${second ?? first}`, "aria-hidden": "true" }, pokemon.name.slice(0, 2));
    if (!this.sprites) return token;
    const id = pokemon.name.toLowerCase().normalize("NFD").replace(/[^a-z0-9-]/g, "");
    const tries = [id, id.replaceAll("-", "")];
    const image = element("img", { class: large ? "sprite large" : "sprite", alt: "", src: `${SPRITES}${tries.shift()}.png` });
    image.addEventListener("error", () => (tries.length ? (image.src = `${SPRITES}${tries.shift()}.png`) : image.replaceWith(token)));
    return image;
  }

  _log() {
    const items = [];
    let turn = null;
    for (const [number, step] of this.film.steps.slice(0, this.at + 1).entries()) {
      if (step.turn !== turn) items.push(element("li", { class: "turn" }, step.turn ? `Turn ${step.turn}` : "Leads"));
      turn = step.turn;
      items.push(element("li", { class: number === this.at ? "now" : null, "aria-current": number === this.at ? "step" : null }, step.said.join(" ")));
    }
    this.parts.log.replaceChildren(...items);
    this.parts.log.scrollTop = this.parts.log.scrollHeight;
  }

  // How likely either side was to win, turn by turn: only a reviewed battle has it (films.py says what each point is).
  _chances() {
    const points = this.film.chances ?? [];
    this.parts.chances.hidden = points.length < 2;
    if (points.length < 2) return;
    const turns = (this.turns = Math.max(points.at(-1)[0], this.film.steps.at(-1)?.turn ?? 0));
    const line = points.map(([after, chance]) => `${after} ${100 - 100 * chance}`).join("L");
    const [end] = points.at(-1);
    this.chance = { p1: element("strong"), p2: element("strong"), dice: element("span", { class: "quiet" }), now: element("span", { class: "at" }) };
    const dear = (this.film.decisions ?? []).filter((decision) => decision.better);
    const curve = element("div", { class: "curve", title: "Click to go there", on: { click: (event) => {
      const { left, width } = curve.getBoundingClientRect();
      this._stop(() => this.show(this._stepAt((turns * (event.clientX - left)) / width)));
    } } },
      drawing(`0 0 ${turns} 100`, ["above", `M0 0L${line}L${end} 0Z`], ["below", `M0 100L${line}L${end} 100Z`], ["half", `M0 50H${turns}`], ["line", `M${line}`]),
      ...dear.map((decision) =>
        element("span", { class: `point of-${decision.policy}`, style: { left: `${(100 * Math.max(0, decision.turn - 1)) / turns}%` }, title: `turn ${decision.turn}: ${decision.better.text}` })),
      this.chance.now);
    this.parts.chances.replaceChildren(
      element("p", { class: "who" }, element("span", { class: "of-p1" }, element("bdi", {}, this.film.names.p1), " ", this.chance.p1),
        this.chance.dice, element("span", { class: "of-p2" }, this.chance.p2, " ", element("bdi", {}, this.film.names.p2))), curve,
      element("p", { class: "note" }, "How likely each is to win, as the value model judges, seeing both sides.", dear.length > 0 && " A mark: a choice that cost something, told beside its turn."));
  }

  // How many turns a step has behind it, when it is over.
  _after(step) {
    const { turn } = this.film.steps[step];
    const of = this.film.steps.flatMap((each, number) => (each.turn === turn ? [number] : []));
    return turn ? turn - 1 + (of.indexOf(step) + 1) / of.length : 0;
  }

  _stepAt(after) {
    const step = this.film.steps.findIndex((_, number) => this._after(number) >= after);
    return step < 0 ? this.film.steps.length - 1 : step;
  }

  _chance() {
    if (this.parts.chances.hidden) return;
    const after = this._after(this.at);
    const [at, chance, luck] = this.film.chances.findLast((point) => point[0] <= after + 0.01);
    this.chance.p1.textContent = percentage(chance);
    this.chance.p2.textContent = percentage(1 - chance);
    const points = Math.round(100 * luck);
    this.chance.dice.textContent = points && after - at < 0.01 ? `the dice gave ${this.film.names[points > 0 ? "p1" : "p2"]} ${Math.abs(points)} points` : "";
    this.chance.now.style.setProperty("left", `${(100 * after) / this.turns}%`);
  }

  _decisions(turn) {
    const made = (this.film.decisions ?? []).filter((decision) => decision.turn === turn);
    this.parts.decisions.replaceChildren(...["p1", "p2"].map((policy) => element("section", { class: `of-${policy}` },
      element("h3", {}, element("bdi", {}, this.film.names[policy])),
      ...made.filter((decision) => decision.policy === policy).map((decision) => this._decision(decision)))));
  }

  _decision(decision) {
    const outcome = [OUTCOMES[decision.outcome] ?? decision.outcome, decision.reason?.replaceAll("_", " ")].filter(Boolean).join(": ");
    const parts = [element("p", { class: "action" }, element("strong", {}, decision.action),
      outcome && element("span", { class: decision.outcome === "substituted" ? "warn" : "quiet" }, ` · ${outcome}`),
      element("span", { class: "quiet" }, ` · ${seconds(decision.ms)}`))];
    if (decision.better) parts.push(element("p", { class: "warn" }, decision.better.text));
    if (decision.reasoning) parts.push(element("blockquote", { dir: "auto" }, decision.reasoning));
    for (const ask of decision.asked ?? []) parts.push(...this._ask(ask));
    return element("div", { class: "decision" }, ...parts);
  }

  _ask(ask) {
    const tokens = [ask.tokens_in, ask.tokens_out].some((known) => known !== undefined) && `${ask.tokens_in ?? "?"} tokens in, ${ask.tokens_out ?? "?"} out`;
    const money = ask.cost_usd !== undefined && `$${ask.cost_usd.toPrecision(2)}`;
    const spent = [ask.model, tokens, money, ask.retries && `${ask.retries} retries`].filter(Boolean).join(" · ");
    const likely = Object.entries(ask.probabilities ?? {}).sort((one, other) => other[1] - one[1]).slice(0, 9);
    return [
      likely.length ? element("ul", { class: "probabilities" }, ...likely.map(([action, share]) =>
        element("li", {}, element("span", { class: "share", style: { width: `${share * 100}%` } }), element("span", { class: "name" }, action), element("span", { class: "number" }, percentage(share))))) : null,
      element("p", { class: "answer" }, "It answered ", element("q", {}, ask.answer), ask.reason && ` (${ask.reason.replaceAll("_", " ")}${ask.detail ? `: ${ask.detail}` : ""})`),
      spent && element("p", { class: "quiet" }, spent),
      ask.prompt && element("details", {}, element("summary", {}, "What it was asked"), element("pre", {}, ask.prompt)),
    ].filter(Boolean);
  }

  _save(kind) {
    const { tag, log } = this.film;
    const text = kind === "log" ? log.join("\n") : replayPage(this.film);
    const link = element("a", { href: URL.createObjectURL(new Blob([text], { type: kind === "log" ? "text/plain" : "text/html" })), download: `${tag}.${kind}` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }
}

// Showdown's own replay file: its viewer undoes the escape of slashes, so that no log can close the script.
function replayPage(film) {
  const title = document.createElement("title");
  title.textContent = `${film.format} replay: ${film.names.p1} vs. ${film.names.p2}`;
  const end = "<" + "/script>";
  return ["<!DOCTYPE html>", '<meta charset="utf-8">', title.outerHTML,
    `<script type="text/plain" class="battle-log-data">${film.log.join("\n").replaceAll("/", "\\/")}${end}`,
    `<script src="https://play.pokemonshowdown.com/js/replay-embed.js">${end}`, ""].join("\n");
}

async function unpack(base64) {
  const packed = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(unpacked).text());
}

// `#battle=7&turn=12`: which battle, and where in it.
function place() {
  const named = new URLSearchParams(location.hash.slice(1));
  const number = (name) => (/^\d{1,6}$/.test(named.get(name) ?? "") ? Number(named.get(name)) : null);
  return { battle: number("battle"), turn: number("turn") };
}

function remember(battle, view) {
  history.replaceState(null, "", `#battle=${battle}&turn=${view.turn}`);
}
