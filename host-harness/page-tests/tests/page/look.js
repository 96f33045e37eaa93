// What is wrong with the page as it is drawn at present: a list of sentences. And what is on it.
(() => {
  const wrong = [];
  const charts = [...document.querySelectorAll("svg")];
  const name = (element) => {
    const text = (element.textContent || "").trim().slice(0, 30);
    return `${element.tagName.toLowerCase()}.${element.getAttribute("class") || ""} "${text}"`;
  };

  // Widths.
  const width = window.innerWidth;
  const root = document.documentElement;
  if (root.scrollWidth > width) wrong.push(`the page is ${root.scrollWidth} wide, the window ${width}`);
  const onPaper = matchMedia("print").matches;
  const boxes = onPaper ? "" : ".scroll, ";
  const isHidden = (element) => element.closest(boxes + ".aside, details:not([open]) > *:not(summary), title, desc, style, head");
  const elements = [...document.querySelectorAll("body *")].filter((element) => !isHidden(element));
  for (const element of elements) {
    const box = element.getBoundingClientRect();
    if (box.width > 0 && (box.left < -0.5 || box.right > width + 0.5)) wrong.push(`${name(element)} leaves the window`);
    const frame = element.closest("figure");
    if (frame && box.right > frame.getBoundingClientRect().right + 0.5) wrong.push(`${name(element)} leaves its frame`);
  }
  for (const box of document.querySelectorAll(".scroll")) {
    if (!onPaper && box.scrollWidth > box.clientWidth && getComputedStyle(box).overflowX !== "auto") wrong.push(`${name(box)} does not scroll`);
  }

  // Text within charts: inside, and none upon another.
  for (const chart of charts) {
    const frame = chart.getBoundingClientRect();
    if (frame.width < 100) wrong.push(`a chart is ${frame.width} wide`);
    const boxes = [...chart.querySelectorAll("text")].map((text) => [text, text.getBoundingClientRect()]);
    for (const [text, box] of boxes) {
      if (box.width === 0) wrong.push(`${name(text)} is not drawn`);
      if (box.left < frame.left - 0.5 || box.right > frame.right + 0.5 || box.top < frame.top - 0.5 || box.bottom > frame.bottom + 0.5)
        wrong.push(`${name(text)} leaves its chart`);
      if (document.body && parseFloat(getComputedStyle(text).fontSize) * frame.width / chart.viewBox.baseVal.width < 9) wrong.push(`${name(text)} is too small`);
    }
    for (let one = 0; one < boxes.length; one++) {
      for (let other = 0; other < one; other++) {
        const [a, b] = [boxes[one][1], boxes[other][1]];
        // A line of text is higher than its letters.
        const trim = Math.min(a.height, b.height) * 0.3;
        if (a.left < b.right && b.left < a.right && a.top + trim < b.bottom && b.top + trim < a.bottom)
          wrong.push(`${name(boxes[one][0])} lies upon ${name(boxes[other][0])}`);
      }
    }
  }

  // Lines and their labels.
  const figures = [...document.querySelectorAll("figure")].map((figure) => {
    const lines = [...figure.querySelectorAll("polyline")].filter((line) => /^s-(floor|dormir|embassy)$/.test(line.getAttribute("class")));
    return lines.map((line) => {
      const runtime = line.getAttribute("class").slice(2);
      const labels = [...figure.querySelectorAll(`text.f-${runtime}`)].filter((label) => label.textContent.trim() === runtime);
      const box = line.getBoundingClientRect();
      if (labels.length !== 1) wrong.push(`${runtime} has ${labels.length} labels`);
      else if (labels[0].getBoundingClientRect().left < box.right) wrong.push(`the label of ${runtime} is not beside its line`);
      if (box.width < 50) wrong.push(`the line of ${runtime} is ${box.width} wide`);
      return runtime;
    });
  });

  // Contrast: WCAG 2.2, 1.4.3 and 1.4.11.
  const parse = (text) => (text.match(/[\d.]+/g) || []).map(Number);
  const luminance = ([red, green, blue]) => {
    const part = (value) => { value /= 255; return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4; };
    return 0.2126 * part(red) + 0.7152 * part(green) + 0.0722 * part(blue);
  };
  const ratio = (one, other) => {
    const [high, low] = [luminance(one), luminance(other)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  };
  const paper = (element) => {
    const sheet = document.querySelector("svg > rect");
    if (!document.body && sheet) return parse(getComputedStyle(sheet).fill);
    for (let at = element; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  let weakest = 21;
  const check = (element, color, least) => {
    const found = ratio(parse(color), paper(element.parentElement || element));
    if (found < weakest) weakest = found;
    if (!(found >= least)) wrong.push(`${name(element)}: a contrast of ${found.toFixed(2)}, not ${least}`);
  };
  for (const element of document.querySelectorAll("body *, svg text")) {
    const says = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!says || element.closest("title, desc, style, head")) continue;
    const style = getComputedStyle(element);
    const inChart = element.closest("svg");
    if (inChart) { check(element, style.fill, 4.5); continue; }
    const found = ratio(parse(style.color), paper(element));
    if (found < weakest) weakest = found;
    if (!(found >= 4.5)) wrong.push(`${name(element)}: a contrast of ${found.toFixed(2)}, not 4.5`);
  }
  for (const line of document.querySelectorAll("polyline, .s-axis, .s-leader")) check(line, getComputedStyle(line).stroke, 3);
  for (const bar of document.querySelectorAll(".bar")) {
    const box = bar.getBoundingClientRect();
    if (box.width <= 0 || box.height <= 0) wrong.push(`${name(bar.closest("tr"))} has no bar`);
    check(bar, getComputedStyle(bar).backgroundColor, 3);
  }

  // Names.
  for (const chart of document.querySelectorAll("svg[role=img]")) {
    const named = (chart.getAttribute("aria-labelledby") || "").split(" ").map((id) => document.getElementById(id));
    if (named.length !== 2 || !named.every((part) => part && part.textContent.trim())) wrong.push("a chart has no name and description");
  }
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) wrong.push(`the id ${id} occurs twice`);

  return JSON.stringify({
    wrong,
    figures,
    weakest,
    paper: getComputedStyle(document.body || root).backgroundColor,
    bars: document.querySelectorAll(".bar").length,
    text: document.body ? document.body.innerText : root.textContent,
  });
})()
