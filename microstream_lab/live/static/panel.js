// Tiles, health and events of the monitor. Text is set as text only. After the frame with our
// number is on the screen we say so: the next one is sent only then.
const FIGURE = ".microstream-figure.js-plotly-plot";
const TOAST_MS = 6000;
const PATIENCE_MS = 1500;

const make = (parent, name, text = "") => {
  const node = document.createElement("div");
  node.className = name;
  node.textContent = text;
  parent.appendChild(node);
  return node;
};

const put = (node, text) => {
  if (node.textContent !== text) node.textContent = text;
};

const plots = () => [...document.querySelectorAll(FIGURE)].filter((plot) => plot._fullLayout);

function painted(number) {
  // Resolves after the browser has painted the figure of that number, and all that came before.
  return new Promise((done) => {
    const started = performance.now();
    const look = () => {
      const shown = plots();
      const drawn = shown.some((plot) => (plot.layout?.meta ?? 0) >= number);
      if (shown.length && !drawn && performance.now() - started < PATIENCE_MS) {
        requestAnimationFrame(look);
        return;
      }
      requestAnimationFrame(() => {
        const after = new MessageChannel();
        after.port1.onmessage = () => done();
        after.port2.postMessage(0);
      });
    };
    look();
  });
}

function inks(looks) {
  // Ink over every figure, again whenever plotly has drawn or the user drags.
  let ink = null;
  const listening = new WeakMap();
  return (data) => {
    ink = data.ink ? { ...data.ink, looks } : null;
    plots().forEach((plot) => {
      if (listening.get(plot) !== plot._ev) {
        listening.set(plot, plot._ev);
        ["plotly_afterplot", "plotly_relayouting"].forEach((event) => {
          plot.on(event, () => inkOver(plot, ink));
        });
      }
      inkOver(plot, ink);
    });
  };
}

function tiles(root) {
  const banner = make(root, "ms-banner");
  const row = make(make(root, "ms-shelf"), "ms-tiles");
  const health = make(root, "ms-health");
  const boxes = [];
  return (data) => {
    put(banner, data.banner ?? "");
    banner.hidden = !data.banner;
    (data.tiles ?? []).forEach((tile, place) => {
      if (!boxes[place]) {
        const box = make(row, "ms-tile");
        boxes[place] = ["ms-label", "ms-value", "ms-detail"].map((name) => make(box, name));
        boxes[place].box = box;
      }
      const [label, value, detail] = boxes[place];
      put(label, tile.label);
      put(value, tile.value);
      put(detail, tile.detail);
      detail.title = tile.detail;
      boxes[place].box.style.borderLeftColor = tile.color || "";
      boxes[place].box.classList.toggle("ms-alarm", Boolean(tile.alarm));
    });
    (data.health ?? []).forEach((item, place) => {
      const node = health.children[place] ?? make(health, "ms-item");
      put(node, `${item.label} ${item.value}`);
      node.classList.toggle("ms-alarm", Boolean(item.alarm));
    });
  };
}

function events(root) {
  const list = make(root, "ms-events");
  list.setAttribute("role", "log");
  let shown = "";
  return (data) => {
    if (data.version === shown) return;
    shown = data.version;
    const lines = (data.events ?? []).map((event) => {
      const line = document.createElement("div");
      line.className = "ms-event";
      make(line, "ms-time", event.at);
      make(line, "ms-dot").style.background = event.color || "var(--jp-ui-font-color3, #888)";
      make(line, "ms-text", event.text);
      return line;
    });
    list.replaceChildren(...lines);
  };
}

function watchlist(root, model) {
  // One row a session; the one that is shown is marked, a click or Enter shows another.
  const table = document.createElement("table");
  table.className = "ms-watchlist";
  root.appendChild(table);
  const head = table.createTHead(), body = table.createTBody();
  const rowAt = (place, columns) => {
    const row = body.insertRow();
    columns.forEach((_, column) => {
      if (column !== 1) return row.insertCell();
      const cell = row.insertCell();
      make(cell, "ms-dot");
      make(cell, "ms-name");
    });
    row.tabIndex = 0;
    const pick = () => model.send({ kind: "picked", place });
    row.addEventListener("click", pick);
    row.addEventListener("keydown", (event) => event.key === "Enter" && pick());
    return row;
  };
  return ({ columns = [], rows = [], shown }) => {
    if (rows.length && !head.rows.length) {
      const row = head.insertRow();
      columns.forEach((name) => put(row.appendChild(document.createElement("th")), name));
    }
    while (body.rows.length > rows.length) body.deleteRow(-1);
    rows.forEach(({ cells, color, alarm }, place) => {
      const row = body.rows[place] ?? rowAt(place, columns);
      cells.forEach((text, column) => {
        put(column === 1 ? row.cells[1].lastChild : row.cells[column], text);
      });
      row.cells[1].firstChild.style.background = color || "transparent";
      row.classList.toggle("ms-alarm", Boolean(alarm));
      row.classList.toggle("ms-shown", cells[0] === shown);
    });
  };
}

function toasts(root) {
  const corner = make(root, "ms-toasts");
  let seen = null;
  return (data) => {
    const all = data.toasts ?? [];
    const last = all.reduce((most, toast) => Math.max(most, toast.id), 0);
    if (seen !== null) {
      all.filter((toast) => toast.id > seen).forEach((toast) => {
        const node = make(corner, "ms-toast", toast.text);
        node.style.borderLeftColor = toast.color || "";
        setTimeout(() => node.remove(), TOAST_MS);
      });
    }
    seen = Math.max(seen ?? 0, last);
  };
}

function render({ model, el }) {
  el.classList.add("ms-panel");
  const part = model.get("part"), isTiles = part === "tiles";
  const parts = {
    tiles: () => [tiles(el), toasts(el), inks(model.get("looks"))],
    watchlist: () => [watchlist(el, model)],
    events: () => [events(el)],
  };
  const shows = parts[part]();
  let acknowledged = 0;
  const show = () => {
    const data = model.get("data");
    shows.forEach((each) => each(data));
    const number = data.frame ?? 0;
    if (!isTiles || number <= acknowledged) return;
    acknowledged = number;
    painted(data.figure ?? 0).then(() => {
      const at = performance.timeOrigin + performance.now();
      model.send({ kind: "painted", frame: number, at });
    });
  };
  model.on("change:data", show);
  show();
  if (isTiles) model.send({ kind: "shown" });
  return () => model.off("change:data", show);
}

export default { render };
