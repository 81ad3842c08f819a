"use strict";
// The console: what was asked for, how it stands, and a form to ask for more. It knows only what the API tells.
const KINDS = ["matchups", "tournaments", "scrapes", "datasets", "trainings", "models", "workers"];
const LOOK_MS = 2500;
const ENDED = ["finished", "cancelled", "failed"];
const list = document.getElementById("list");
const form = document.getElementById("ask");
const known = new Map(); // Path → what was told of work that has ended, and changes no more.
let kind = KINDS.includes(location.hash.slice(1)) ? location.hash.slice(1) : "matchups";
let shown = 20;

class Refused extends Error {}

async function ask(path, options = {}) {
  const answer = await fetch(path, { ...options, headers: { "Content-Type": "application/json", ...options.headers } });
  if (answer.status === 401) {
    await askForToken();
    return ask(path, options);
  }
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused((body.errors ?? [{ reason: `The API answers ${answer.status}.` }]).map(({ field, reason }) => (field ? `${field}: ${reason}` : reason)).join("\n"));
  return body;
}

let asking = null;
function askForToken() {
  return (asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("token");
    const inside = dialog.querySelector("form");
    dialog.showModal();
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    inside.onsubmit = async (event) => {
      event.preventDefault();
      const answer = await fetch("/session", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ token: inside.elements.token.value }) });
      inside.querySelector(".fault").textContent = answer.ok ? "" : "That is not this API's token.";
      if (!answer.ok) return;
      inside.reset();
      dialog.close();
      asking = null;
      resolve();
    };
  }));
}

const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
const minutes = (s) => (s < 90 ? `${Math.round(s)} s` : s < 5400 ? `${Math.round(s / 60)} min` : `${(s / 3600).toFixed(1)} h`);
const dollars = (usd) => (usd >= 1 || usd === 0 ? `$${usd.toFixed(2)}` : `$${usd.toPrecision(2)}`);
const share = (rate) => `${Math.round(rate * 100)} %`;
const sentence = (...parts) => parts.filter(Boolean).join(" · ");

// What is told of each kind, from what the API answers: its name, how it stands, how far it is, and where to go on.
const TOLD = {
  matchups: (work) => ({
    what: `${work.p1} vs ${work.p2}`,
    how: sentence(
      work.p1_win_rate != null && `${work.p1} wins ${share(work.p1_win_rate)} (${share(work.p1_win_rate_interval[0])} to ${share(work.p1_win_rate_interval[1])})`,
      `${work.recorded.toLocaleString("en")} of ${count(work.battles, "battle")} of ${work.format}`,
      work.broken && `${work.broken} broken`,
      work.substitutions && work.substitutions.p1 + work.substitutions.p2 > 0 && `${work.substitutions.p1 + work.substitutions.p2} substituted`,
      work.cost_usd && dollars(work.cost_usd),
      work.probably_left?.seconds && `probably ${minutes(work.probably_left.seconds)} left`,
      work.stopped, ...(work.failures ?? [])),
    done: work.recorded, of: work.battles,
    links: [[!ENDED.includes(work.state) && "watch live" || work.recorded > 0 && "open a battle", `/matchups/${work.id}/live${ENDED.includes(work.state) ? "#battle=0" : ""}`], [work.links.report && "report", work.links.report], [work.links.run && "run", work.links.run]],
  }),
  tournaments: (work) => ({
    what: work.policies.join(", "),
    how: sentence(count(work.battles, "battle"), count(work.matchups, "matchup"), work.cost_usd && dollars(work.cost_usd), work.over),
    done: work.battles, of: work.budget?.battles,
    links: [[work.links.leaderboard && "leaderboard", work.links.leaderboard]],
  }),
  scrapes: (work) => ({
    what: `Replays of ${work.request.format}`,
    how: sentence(`${work.found} found`, ...Object.entries(work.outcomes).map(([name, number]) => `${number} ${name.replaceAll("_", " ")}`), ...(work.failures ?? [])),
    done: work.ranges_done, of: work.ranges, links: [],
  }),
  datasets: (work) => ({ what: work.id, how: sentence(work.card?.samples && count(work.card.samples, "sample"), work.failure), links: [] }),
  trainings: (work) => ({
    what: `${work.request.name}: ${work.request.recipe} on ${work.request.dataset}`,
    how: sentence(work.standing && `step ${work.standing.step} of ${work.standing.steps}`, work.standing?.loss != null && `loss ${work.standing.loss.toFixed(3)}`, work.standing?.seconds_left != null && `${minutes(work.standing.seconds_left)} left`, work.result && `version ${work.result.version}`, work.failure),
    done: work.standing?.step, of: work.standing?.steps, links: [],
  }),
};

function row(work, { what, how, done, of, links }) {
  const open = !ENDED.includes(work.state);
  const cancel = open && element("button", { class: "plain", type: "button", on: { click: () => cancelled(work.id) } }, "cancel");
  return element("article", { class: "work" },
    element("p", { class: "what" }, element("bdi", {}, what)),
    element("span", { class: `state ${work.state}` }, work.state),
    open && of ? element("progress", { max: of, value: done ?? 0, "aria-label": `${done ?? 0} of ${of}` }) : null,
    element("p", { class: "how" }, how),
    element("p", { class: "links" }, ...links.filter(([name]) => name).map(([name, href]) => element("a", { href }, name)), cancel,
      element("span", { class: "quiet" }, `${work.id} · ${new Date(work.created_at).toLocaleString()}`)));
}

async function cancelled(id) {
  if (!confirm(`Cancel ${id}? What there is of it stays.`)) return;
  await act(() => ask(`/${kind}/${encodeURIComponent(id)}`, { method: "DELETE" }));
}

async function act(what) {
  try {
    await what();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    alert(error.message);
  }
  await look();
}

async function detail(work) {
  const path = `/${kind}/${encodeURIComponent(work.id)}`;
  const before = known.get(path);
  if (before && before.links?.report) return before;
  const told = await ask(path);
  if (ENDED.includes(told.state)) known.set(path, told);
  return told;
}

const VIEWS = {
  async workers() {
    const { queues, workers } = await ask("/health");
    const tried = element("button", { type: "button", on: { click: () => act(() => ask("/resume", { method: "POST" })) } }, "Try failed work again");
    return [
      element("p", {}, sentence(...Object.entries(queues).map(([name, waiting]) => `${name}: ${waiting} waiting`))),
      ...workers.map((worker) => element("article", { class: "work" }, element("p", { class: "what" }, worker.name), element("span", { class: `state ${worker.state === "busy" ? "running" : ""}` }, worker.state), element("p", { class: "how" }, worker.queue))),
      element("p", {}, tried),
    ];
  },
  async models() {
    const { items } = await ask("/models");
    return items.map((model) => element("article", { class: "work" }, element("p", { class: "what" }, model.name), element("span", { class: "state" }, model.current ? "current" : "no current version"), element("p", { class: "how" }, sentence(model.current && `version ${model.current}`, count(model.versions.length, "version")))));
  },
};

async function works(of) {
  const { items, next } = await ask(`/${of}?limit=${shown}`);
  const told = of === "matchups" || of === "tournaments" ? await Promise.all(items.map(detail)) : items;
  const more = next && element("button", { type: "button", on: { click: () => { shown += 20; look(); } } }, "Show more");
  return [...told.map((work) => row(work, TOLD[of](work))), more].filter(Boolean);
}

async function look() {
  const of = kind;
  try {
    const rows = await (VIEWS[of]?.() ?? works(of));
    if (of !== kind) return;
    const focused = document.activeElement?.closest?.("#list");
    if (!focused) list.replaceChildren(...(rows.length ? rows : [element("p", { class: "quiet" }, `No ${of} yet.`)]));
    document.getElementById("health").textContent = "";
  } catch (error) {
    document.getElementById("health").textContent = error instanceof Refused ? error.message : "The API does not answer.";
  }
}

function tabs() {
  document.getElementById("tabs").replaceChildren(...KINDS.map((name) => element("button", { type: "button", "aria-current": name === kind ? "page" : null, on: { click: () => { kind = name; shown = 20; location.hash = name; list.replaceChildren(); tabs(); look(); } } }, name)));
}

function wanted() {
  const given = Object.fromEntries([...new FormData(form)].filter(([, value]) => value !== ""));
  const number = (name) => (given[name] === undefined ? undefined : Number(given[name]));
  const body = { p1: given.p1, p2: given.p2, format: given.format, seed: number("seed"), max_cost_usd: number("max_cost_usd") };
  return given.until ? { ...body, until_decided: { max_battles: number("battles") } } : { ...body, battles: number("battles") };
}

let estimating = 0;
async function estimate() {
  const place = document.getElementById("estimate");
  const mine = ++estimating;
  await new Promise((resolve) => setTimeout(resolve, 300));
  if (mine !== estimating || !form.checkValidity()) return;
  try {
    const told = await ask("/estimates", { method: "POST", body: JSON.stringify(wanted()) });
    if (mine === estimating) place.textContent = sentence(`${told.at_most ? "At most" : "About"} ${count(told.battles, "battle")}`, told.seconds != null ? `${minutes(told.seconds)} with one worker` : "time unknown", told.cost_usd != null ? dollars(told.cost_usd) : "cost unknown", told.source);
  } catch (error) {
    if (mine === estimating) place.textContent = "";
  }
}

form.addEventListener("input", estimate);
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const fault = form.querySelector(".fault");
  try {
    const { id } = await ask("/matchups", { method: "POST", body: JSON.stringify(wanted()) });
    fault.textContent = "";
    location.href = `/matchups/${id}/live`;
  } catch (error) {
    fault.textContent = error.message;
  }
});

ask("/policies").then(({ policies, formats }) => {
  document.getElementById("policies").append(...policies.map(({ name, example }) => element("option", { value: example || name })));
  document.getElementById("kinds").append(...policies.flatMap(({ name, example, description }) => [element("dt", {}, example || name), element("dd", {}, description)]));
  form.elements.format.append(...formats.map(({ id }) => element("option", { value: id }, id)));
  estimate();
});
document.getElementById("new").addEventListener("toggle", estimate);
tabs();
look();
setInterval(() => document.hidden || look(), LOOK_MS);
