// Put behind plotly's own widget, whose figure and view classes it mends:
// - after each change the view sends all defaults of all traces back to the kernel, which nobody
//   here asks for and which costs more than many a redraw;
// - a view that was removed goes on listening and breaks on the next change;
// - it minds the size of the window only, and not even that once its width was found: here it fills
//   its place, also when a side bar comes or goes.
const silent = () => {};
FigureView.prototype._sendTraceDeltas = silent;
FigureView.prototype._sendLayoutDelta = silent;
const tidings = ["do_addTraces", "do_deleteTraces", "do_moveTraces", "do_restyle", "do_relayout",
  "do_update", "do_animate"];
tidings.forEach((name) => {
  const plain = FigureView.prototype[name];
  FigureView.prototype[name] = function () {
    if (!this.isRemoved) plain.call(this);
  };
});
const plainRender = FigureView.prototype.perform_render;
FigureView.prototype.perform_render = function () {
  plainRender.call(this);
  this.observer = new ResizeObserver(() => {
    const width = Math.round(this.el.clientWidth);
    if (!width || !this.el._fullLayout || width === Math.round(this.el._fullLayout.width)) return;
    delete this.el.layout.width;
    this.autosizeFigure();
  });
  this.observer.observe(this.el);
};
const plainRemove = FigureView.prototype.remove;
FigureView.prototype.remove = function () {
  this.isRemoved = true;
  this.observer?.disconnect();
  plainRemove.call(this);
};
