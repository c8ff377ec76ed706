// Plotly's own widget, loaded when the figure is first shown. A model that has not begun within two
// seconds is given up by anywidget, with every message that comes later; plotly takes longer than
// that on a busy machine, and holds up all other widgets meanwhile. So the model begins at once, and
// says "ready" when plotly is there and has missed whatever was told before.
const loaded = (model) => {
  const code = model.get("_plotly");
  const key = `microstream-plotly-${code.length}`;
  if (!globalThis[key]) {
    const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
    globalThis[key] = import(url).finally(() => URL.revokeObjectURL(url));
    globalThis[key].catch(() => delete globalThis[key]);
  }
  return globalThis[key];
};

export default () => {
  let own, figure;
  return {
    initialize({ model }) {
      own = model;
    },
    async render({ model, el }) {
      const plotly = await loaded(own);
      if (!figure) {
        figure = plotly.default();
        figure.initialize({ model: own });
      }
      const remove = figure.render({ model, el });
      own.send({ kind: "ready" });
      return remove;
    },
  };
};
