// Opens battles of a report: by a click in its grid, or by the address (#battle=7&turn=12).
{
  const opened = document.getElementById("opened");
  let view = null;
  const open = async (event) => {
    const { battle, turn } = place();
    const packed = battle === null ? null : document.getElementById(`film-${battle}`);
    if (!packed) return;
    if (view?.film.battle !== battle) {
      const film = await unpack(packed.textContent);
      const beside = document.getElementById(`more-${battle}`);
      if (beside) {
        const { log, prompts } = await unpack(beside.textContent);
        film.log = log;
        film.decisions.forEach((decision, at) => decision.asked.forEach((ask, number) => (ask.prompt = prompts[at][number])));
      }
      for (const cell of document.querySelectorAll("a.cell")) cell.classList.toggle("opens", cell.getAttribute("href") === `#battle=${battle}`);
      opened.hidden = false;
      view = new BattleView(opened, film, { moved: (shown) => shown.root.isConnected && remember(battle, shown) });
      opened.prepend(element("p", { class: "of" }, `battle ${battle}`));
      opened.scrollIntoView({ block: "nearest" });
    }
    view.goToTurn(turn ?? 0);
  };
  addEventListener("hashchange", open);
  document.addEventListener("keydown", (event) => event.target === document.body && view?.key(event));
  open();
}
