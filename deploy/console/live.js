"use strict";
// Battles of a matchup as they are played, up to four side by side; one large; or a recorded one (#battle=7&turn=12).
const matchup = location.pathname.split("/")[2];
const api = `/matchups/${encodeURIComponent(matchup)}`;
const battles = document.getElementById("battles");
const standing = document.getElementById("standing");
const films = new Map();
const views = new Map();
let about = { names: { p1: "p1", p2: "p2" } };
let source = null;

function named(names) {
  document.getElementById("names").replaceChildren(element("bdi", {}, names.p1), element("span", { class: "vs" }, " vs "), element("bdi", {}, names.p2));
  document.title = `${names.p1} vs ${names.p2} · alphaStral`;
}

function follow(chosen) {
  source?.close();
  films.clear();
  views.clear();
  battles.replaceChildren();
  source = new EventSource(`${api}/events${chosen === null ? "" : `?battle=${chosen}`}`);
  source.addEventListener("matchup", (event) => {
    about = JSON.parse(event.data);
    films.clear(); // A connection that began anew tells everything again.
    document.getElementById("format").textContent = about.format;
    named(about.names);
  });
  source.addEventListener("standing", (event) => stand(JSON.parse(event.data), chosen));
  source.addEventListener("film", (event) => grow(JSON.parse(event.data), chosen === null));
  source.addEventListener("error", () => { standing.textContent = "The API does not answer. Trying again."; });
}

function stand({ playing, shown }, chosen) {
  standing.textContent = playing.length ? `${playing.length} of ${about.battles} battles in play` : "No battle is in play now.";
  for (const [battle, view] of views) if (!shown.includes(battle)) { view.root.closest("article").remove(); views.delete(battle); films.delete(battle); }
  battles.classList.toggle("several", chosen === null && shown.length > 1);
}

function grow(news, several) {
  const known = films.get(news.battle);
  const begins = news.from === 0;
  const film = begins || !known ? { ...about, battle: news.battle, pokemon: [], steps: [], decisions: [] } : known;
  film.steps.push(...news.steps);
  film.pokemon.push(...news.pokemon);
  film.decisions.push(...news.decisions);
  film.winner = news.winner ?? (news.ended ? "draw" : null);
  films.set(news.battle, film);
  if (!film.steps.length) return;
  const view = views.get(news.battle);
  if (view && known === film) view.grown();
  else show(film, { live: true, compact: several && matchMedia("(min-width: 60rem)").matches });
}

function show(film, options) {
  const link = element("a", { href: `#battle=${film.battle}` }, `battle ${film.battle}${options.compact ? ": open it large, with what was thought" : ""}`);
  const place = element("div");
  const card = views.get(film.battle)?.root.closest("article") ?? battles.appendChild(element("article"));
  card.replaceChildren(element("p", { class: "of" }, link), place);
  views.set(film.battle, new BattleView(place, film, options));
}

async function open() {
  const { battle, turn } = place();
  if (battle === null) return follow(null);
  const answer = await fetch(`${api}/battles/${battle}`);
  if (answer.status === 404) return follow(battle); // Not recorded yet: it may be in play.
  if (!answer.ok) return needsToken(answer);
  source?.close();
  const film = await answer.json();
  films.clear(); views.clear(); battles.replaceChildren();
  battles.classList.remove("several");
  document.getElementById("format").textContent = film.format;
  named(film.names);
  standing.textContent = "";
  show(film, { moved: (view) => remember(battle, view) });
  if (turn !== null) views.get(battle).goToTurn(turn);
}

function needsToken(answer) {
  standing.textContent = answer.status === 401 ? "The console asks for the token: " : `The API answers ${answer.status}.`;
  if (answer.status === 401) standing.append(element("a", { href: "/" }, "go there first."));
}

document.getElementById("choose").addEventListener("submit", (event) => {
  event.preventDefault();
  const battle = new FormData(event.target).get("battle").trim();
  location.hash = battle ? `battle=${battle}` : "";
});
document.getElementById("any").addEventListener("click", () => { location.hash = ""; });
document.addEventListener("keydown", (event) => event.target === document.body && views.size === 1 && views.values().next().value.key(event));
addEventListener("hashchange", open);

fetch(api).then(async (answer) => {
  if (!answer.ok) return needsToken(answer);
  const { links, state, recorded, battles: of } = await answer.json();
  const report = document.getElementById("report");
  if (links.report) { report.href = links.report; report.hidden = false; }
  const ended = ["finished", "cancelled", "failed"].includes(state);
  document.getElementById("any").hidden = ended;
  document.getElementById("choose").elements.battle.placeholder = `0 to ${of - 1}`;
  if (ended && recorded && !location.hash) location.hash = "battle=0"; // Which opens it.
  else open();
});
