// What a page may have that keeps people from using it, as a list of texts: names of controls, the order of
// headings, tables' headers and captions, contrast (WCAG 2.2, 1.4.3), language and title, references that lead nowhere.
(() => {
  const found = [];
  const visible = (node) => node.checkVisibility({ visibilityProperty: true }) && node.getClientRects().length > 0;
  const all = (selector) => [...document.querySelectorAll(selector)].filter(visible);
  const tell = (node) => (node.outerHTML || String(node)).slice(0, 120);

  if (!document.documentElement.lang) found.push("no language");
  if (!document.title.trim()) found.push("no title");

  const named = (node) =>
    [node.getAttribute("aria-label"), node.textContent, ...[...(node.labels || [])].map((l) => l.textContent),
      ...(node.getAttribute("aria-labelledby") || "").split(" ").map((id) => id && document.getElementById(id)?.textContent)]
      .some((text) => text && text.trim());
  for (const node of all("a[href], button, summary, input, select, [role=region], [role=img], [tabindex]:not(main)")) {
    const own = node.tagName === "SELECT" || node.tagName === "INPUT" ? { ...node } : null;
    const name = own === null ? named(node) : [...node.labels].some((l) => l.textContent.trim());
    if (!name) found.push(`no name: ${tell(node)}`);
    if (node.tabIndex > 0) found.push(`a tab order of its own: ${tell(node)}`);
  }
  for (const node of all("img")) {
    if (!node.hasAttribute("alt")) found.push(`no alternative: ${tell(node)}`);
  }
  for (const node of document.querySelectorAll("[aria-labelledby], [aria-describedby], label[for]")) {
    const ids = ["aria-labelledby", "aria-describedby", "for"].map((name) => node.getAttribute(name) || "").join(" ");
    for (const id of ids.split(" ").filter(Boolean)) {
      if (!document.getElementById(id)) found.push(`${id} is not there: ${tell(node)}`);
    }
  }
  const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
  ids.filter((id, i) => ids.indexOf(id) !== i).forEach((id) => found.push(`twice: ${id}`));

  let level = 0;
  for (const node of all("h1, h2, h3, h4, h5, h6")) {
    const next = +node.tagName[1];
    if (next > level + 1) found.push(`a heading too deep: ${tell(node)}`);
    level = next;
  }
  if (all("h1").length !== 1) found.push("not one h1");
  if (document.querySelectorAll("main").length !== 1) found.push("not one main");

  for (const table of all("table")) {
    if (!table.caption || !table.caption.textContent.trim()) found.push(`no caption: ${tell(table)}`);
    for (const head of table.querySelectorAll("th")) {
      if (!head.scope) found.push(`no scope: ${tell(head)}`);
    }
    for (const row of table.tBodies[0].rows) {
      if (row.cells[0].tagName !== "TH") found.push(`no header of a row: ${tell(row)}`);
    }
    const box = table.parentElement;
    if (box.scrollWidth > box.clientWidth && box.tabIndex !== 0) found.push(`scrolls, but not by keys: ${tell(box)}`);
  }

  // ---- contrast

  const colour = (text) => {
    const parts = text.match(/[\d.]+/g).map(Number);
    const scale = text.startsWith("color(") ? 255 : 1;
    return { rgb: parts.slice(0, 3).map((n) => n * scale), a: parts.length > 3 ? parts[3] : 1 };
  };
  const over = (top, ground) => top.rgb.map((n, i) => n * top.a + ground[i] * (1 - top.a));
  const ground = (node) => {
    const layers = [];
    for (let each = node; each; each = each.parentElement) layers.unshift(colour(getComputedStyle(each).backgroundColor));
    return layers.reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((n) => n / 255).map((n) => n <= 0.04045 ? n / 12.92 : ((n + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !visible(node) || node.closest("script, noscript, .unseen")) continue;
    const style = getComputedStyle(node);
    const behind = ground(node);
    const ink = over(colour(node instanceof SVGElement ? style.fill : style.color), behind);
    const [low, high] = [luminance(ink), luminance(behind)].sort((a, b) => a - b);
    const ratio = (high + 0.05) / (low + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && +style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) found.push(`contrast ${ratio.toFixed(2)}: ${tell(node)}`);
  }
  return found;
})()
