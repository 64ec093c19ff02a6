"use strict";
// Shows the rows that have all words of the search, and are about the extension that was chosen.
(() => {
  const form = document.getElementById("filter");
  const words = document.getElementById("words");
  const extension = document.getElementById("extension");
  const shown = document.getElementById("shown");
  const tables = Array.from(document.querySelectorAll("table"), (table) => {
    const note = document.createElement("p");
    note.className = "empty";
    note.textContent = "No row of this table matches.";
    note.hidden = true;
    table.parentElement.after(note);
    const rows = Array.from(table.tBodies[0].rows, (row) => ({ row, text: row.textContent.toLowerCase() }));
    return { frame: table.parentElement, note, rows };
  });

  const filter = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter((word) => word !== "");
    const name = extension.value;
    let found = 0;
    let all = 0;
    for (const { frame, note, rows } of tables) {
      let matches = 0;
      for (const { row, text } of rows) {
        const by = row.dataset.by;
        // Rows that name no extension tell of one in their text.
        const about = by === "//" ? text.includes(name.toLowerCase()) : by.includes("/" + name + "/");
        const matching = (name === "" || about) && wanted.every((word) => text.includes(word));
        row.hidden = !matching;
        matches += matching ? 1 : 0;
      }
      frame.hidden = matches === 0;
      note.hidden = matches !== 0;
      found += matches;
      all += rows.length;
    }
    shown.textContent = wanted.length === 0 && name === "" ? "" : found + " of " + all + " rows match";
  };

  let waiting = 0;
  words.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(filter, 120);
  });
  extension.addEventListener("change", filter);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    filter();
  });
  // A link can carry a search: plan.html?search=WORDS&extension=NAME
  const asked = new URLSearchParams(location.search);
  words.value = asked.get("search") ?? "";
  extension.value = asked.get("extension") ?? "";
  if (extension.selectedIndex < 0) {
    extension.value = "";
  }
  form.hidden = false;
  filter();
})();
