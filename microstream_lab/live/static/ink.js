// What is newer than the figure, inked on a canvas above it: bars that have closed since, their
// regimes, scores and probabilities, and the forming bar. Places come from the figure's own axes.
// `looks` are colours, opacities and the places of the figure's traces, as the kernel says.
const BODY = 0.35; // half the width of a body, as a share of a bar

function canvasOf(plot) {
  // The canvas above the plot and below its hover labels, of the plot's size.
  const first = plot.querySelector(".main-svg");
  if (!first) return null;
  let canvas = plot.querySelector("canvas.ms-ink");
  if (!canvas) {
    canvas = document.createElement("canvas");
    canvas.className = "ms-ink";
    first.after(canvas);
  }
  const { width, height } = plot._fullLayout, ratio = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return pen;
}

function inPanel(pen, layout, name, draw) {
  // Let `draw` work with places of one panel, and nowhere else.
  const across = layout.xaxis, up = layout[name];
  if (!up) return;
  pen.save();
  pen.beginPath();
  pen.rect(across._offset, up._offset, across._length, up._length);
  pen.clip();
  draw((t) => across._offset + across.l2p(t), (v) => up._offset + up.l2p(v), up);
  pen.restore();
}

function candle(pen, looks, x, y, half, [open, high, low, close], opacity) {
  const color = close >= open ? looks.up : looks.down;
  const top = y(Math.max(open, close)), bottom = y(Math.min(open, close));
  pen.strokeStyle = pen.fillStyle = color;
  pen.lineWidth = 1;
  pen.beginPath();
  pen.moveTo(x, y(high));
  pen.lineTo(x, top);
  pen.moveTo(x, bottom);
  pen.lineTo(x, y(low));
  pen.rect(x - half, top, 2 * half, bottom - top);
  pen.stroke();
  pen.globalAlpha = opacity;
  pen.fillRect(x - half, top, 2 * half, bottom - top);
  pen.globalAlpha = 1;
}

const newest = (numbers) => (numbers?.length ? numbers[numbers.length - 1] : undefined);
const isKnown = (value) => value !== null && value !== undefined && !Number.isNaN(value);

function line(pen, points, color) {
  pen.strokeStyle = color;
  pen.lineWidth = 1.2;
  pen.beginPath();
  let isDown = false;
  points.forEach(([x, y]) => {
    if (!isKnown(y)) isDown = false;
    else if (isDown) pen.lineTo(x, y);
    else {
      pen.moveTo(x, y);
      isDown = true;
    }
  });
  pen.stroke();
}

function inkPrices(pen, layout, ink, fresh) {
  inPanel(pen, layout, "yaxis", (x, y, axis) => {
    const width = x(ink.step) - x(0), half = BODY * width, { looks } = ink;
    pen.globalAlpha = looks.background;
    fresh.forEach((k) => {
      if (ink.regimes[k] < 0) return;
      pen.fillStyle = ink.colors[ink.regimes[k]];
      pen.fillRect(x(ink.t[k]) - width / 2, axis._offset, width, axis._length);
    });
    pen.globalAlpha = 1;
    fresh.forEach((k) => candle(pen, looks, x(ink.t[k]), y, half, ink.bars[k], 1));
    if (!ink.forming) return;
    const [t, ...prices] = ink.forming, height = y(prices[3]);
    candle(pen, looks, x(t), y, half, prices, 0.45);
    pen.strokeStyle = prices[3] >= prices[0] ? looks.up : looks.down;
    pen.setLineDash([2, 3]);
    pen.beginPath();
    pen.moveTo(layout.xaxis._offset, height);
    pen.lineTo(layout.xaxis._offset + layout.xaxis._length, height);
    pen.stroke();
    pen.setLineDash([]);
  });
}

function inkLine(pen, layout, axis, ink, fresh, trace, values, color, marked) {
  // A line goes on from the last point of its trace.
  inPanel(pen, layout, axis, (x, y) => {
    const begun = [newest(trace?.x), newest(trace?.y)];
    const points = fresh.map((k) => [x(ink.t[k]), isKnown(values[k]) ? y(values[k]) : null]);
    if (isKnown(begun[1])) points.unshift([x(begun[0]), y(begun[1])]);
    line(pen, points, color);
    pen.fillStyle = ink.looks.alarm;
    fresh.filter((k) => marked?.[k]).forEach((k) => {
      pen.beginPath();
      pen.arc(x(ink.t[k]), y(values[k]), 3, 0, 7);
      pen.fill();
    });
  });
}

function inkAreas(pen, layout, ink, fresh, traces) {
  // Areas go on from the last point of each; the calmest regime at the bottom.
  inPanel(pen, layout, "yaxis3", (x, y) => {
    pen.globalAlpha = ink.looks.area;
    const begun = traces.map((trace) => newest(trace.y)), at = newest(traces[0]?.x);
    const rows = fresh.map((k) => [ink.t[k], ink.probs[k]]);
    if (begun.length && begun.every(isKnown)) rows.unshift([at, begun]);
    rows.slice(1).forEach(([t, probs], place) => {
      const [before, earlier] = rows[place];
      if (!probs?.every(isKnown) || !earlier?.every(isKnown)) return;
      ink.colors.forEach((color, k) => {
        pen.fillStyle = color;
        pen.beginPath();
        pen.moveTo(x(before), y(k ? earlier[k - 1] : 0));
        pen.lineTo(x(before), y(earlier[k]));
        pen.lineTo(x(t), y(probs[k]));
        pen.lineTo(x(t), y(k ? probs[k - 1] : 0));
        pen.fill();
      });
    });
  });
}

function inkOver(plot, ink) {
  // Ink what the plot does not show itself.
  const layout = plot._fullLayout, traces = plot.data;
  if (!layout?.xaxis?.l2p) return;
  const pen = canvasOf(plot);
  if (!pen || !ink?.t) return;
  const { looks } = ink, last = newest(traces[looks.bars]?.x) ?? -Infinity;
  const fresh = ink.t.map((_, k) => k).filter((k) => ink.t[k] > last);
  inkPrices(pen, layout, ink, fresh);
  if (!fresh.length) return;
  const score = traces[looks.score], feature = traces[looks.feature];
  inkLine(pen, layout, "yaxis2", ink, fresh, score, ink.scores, looks.scoreColor, ink.flagged);
  inkLine(pen, layout, "yaxis4", ink, fresh, feature, ink.feature, looks.featureColor, null);
  inkAreas(pen, layout, ink, fresh, traces.slice(looks.areas));
}
