// Put behind plotly's own widget, whose figure and view classes it mends:
// - after each change the view sends all defaults of all traces back to the kernel, which nobody
//   here asks for and which costs more than many a redraw;
// - a view that was removed goes on listening and breaks on the next change.
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
const plainRemove = FigureView.prototype.remove;
FigureView.prototype.remove = function () {
  this.isRemoved = true;
  plainRemove.call(this);
};
