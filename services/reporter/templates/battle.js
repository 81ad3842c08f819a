unpack(document.getElementById("film").textContent).then((film) => {
  const { turn } = place();
  const view = new BattleView(document.getElementById("battle"), film, { moved: (shown) => remember(film.battle, shown) });
  if (turn !== null) view.goToTurn(turn);
  addEventListener("hashchange", () => view.goToTurn(place().turn ?? 0));
  document.addEventListener("keydown", (event) => event.target === document.body && view.key(event));
});
