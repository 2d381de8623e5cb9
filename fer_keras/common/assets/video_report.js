// Under the pointer, or moved by the arrow keys: a line at a time, and every emotion's share there.
for (const chart of document.querySelectorAll("svg[data-points]")) {
  const { left, right, from, until, times, shares, clock } = JSON.parse(chart.dataset.points);
  const cursor = chart.querySelector(".cursor");
  const values = chart.querySelectorAll(".value");
  const label = chart.querySelector(".time");
  const resting = [...values].map((value) => value.textContent);
  let index = 0;

  const show = (i) => {
    index = Math.min(Math.max(i, 0), times.length - 1);
    const x = left + (right - left) * (times[index] - from) / (until - from);
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    cursor.style.visibility = "visible";
    values.forEach((value, row) => { value.textContent = shares[row][index] + " %"; });
    label.textContent = clock[index];
  };
  const rest = () => {
    cursor.style.visibility = "hidden";
    values.forEach((value, row) => { value.textContent = resting[row]; });
    label.textContent = "mean";
  };
  const nearest = (time) => {
    let best = 0;
    times.forEach((t, i) => { if (Math.abs(t - time) < Math.abs(times[best] - time)) best = i; });
    return best;
  };

  chart.addEventListener("pointermove", (event) => {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(chart.getScreenCTM().inverse());
    show(nearest(from + (until - from) * (point.x - left) / (right - left)));
  });
  chart.addEventListener("pointerleave", rest);
  chart.addEventListener("focus", () => show(index));
  chart.addEventListener("blur", rest);
  chart.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    show(index + step);
  });
}
