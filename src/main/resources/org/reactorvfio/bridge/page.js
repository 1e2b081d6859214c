"use strict";

(() => {
  const WINDOW = 60_000; // what the chart shows, in milliseconds
  const POLL = 2_000; // between looks at the list of devices
  const SILENCE = 10_000; // a stream that says nothing for so long has broken
  const FIRST_WAIT = 500; // before the first attempt to connect again
  const LONGEST_WAIT = 10_000;
  const LINES = 4; // vectors in the chart
  const FEW = 16; // so many vectors are shown even without signals
  const ROWS = 256; // rows of a table; more on demand
  const INDICES = ["INTx", "MSI", "MSI-X", "ERR", "REQ"];
  const STATES = { WATCHED: "taken", PARKED: "parked", HELD: "held" };

  const $ = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";

  function element(tag, text, className) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  function drawn(tag, attributes) {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  }

  function say(id, text) {
    const where = $(id);
    if (where.textContent !== text) where.textContent = text;
  }

  // ---- numbers

  const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
  const small = new Intl.NumberFormat("en-US", { maximumFractionDigits: 1 });
  const short = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });

  const rateText = (rate) => rate === undefined ? "–" : (rate < 10 ? small : whole).format(rate);
  const demandText = (demand) => demand < 0 ? "unbounded" : demand === 0 ? "none" : whole.format(demand);
  const waitingText = (waiting) => waiting < 0 ? "unknown" : whole.format(waiting);
  const count = (n, one, many) => `${whole.format(n)} ${n === 1 ? one : many}`;
  const hex = (n, digits) => n.toString(16).padStart(digits, "0");

  function sizeText(bytes) {
    const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let unit = 0;
    while (bytes >= 1024 && bytes % 1024 === 0 && unit < units.length - 1) {
      bytes /= 1024;
      unit++;
    }
    return bytes === 0 ? "–" : `${whole.format(bytes)} ${units[unit]}`;
  }

  // ---- who is here

  let token = null;
  let epoch = 0; // grows with every signing in and out: what was begun before it is void
  let reachable = false;
  let listed = new Map();
  let selected = null;
  let feed = null;

  function remembered(store, name) {
    try {
      return store().getItem(name);
    } catch {
      return null; // storage may be forbidden: then nothing is remembered
    }
  }

  function remember(store, name, value) {
    try {
      if (value) store().setItem(name, value);
      else store().removeItem(name);
    } catch {
      // As above.
    }
  }

  const tab = () => sessionStorage;
  const browser = () => localStorage;

  /** What stands behind the address's #. */
  function fragment() {
    const parts = {};
    for (const part of location.hash.slice(1).split("&")) {
      const at = part.indexOf("=");
      if (at > 0) {
        try {
          parts[part.slice(0, at)] = decodeURIComponent(part.slice(at + 1));
        } catch {
          // Not one of ours.
        }
      }
    }
    return parts;
  }

  /** Takes a token out of the address, where it would be seen, and kept in the history. */
  function tokenOfAddress() {
    const { token: shown, device } = fragment();
    if (shown === undefined) return null;
    const rest = device === undefined ? "" : `#device=${encodeURIComponent(device)}`;
    history.replaceState(null, "", location.pathname + location.search + rest);
    return shown;
  }

  class Failure extends Error {
    constructor(status, problem) {
      super(problem);
      this.status = status;
    }
  }

  /** Asks the server; throws a Failure if it refuses, a TypeError if it does not answer. */
  async function ask(path, signal) {
    const response = await fetch(`v1/${path}`, {
      headers: { Authorization: `Bearer ${token}` },
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      signal,
    });
    if (!response.ok) {
      const said = await response.json().catch(() => ({}));
      throw new Failure(response.status, said.problem || `the server answers ${response.status}`);
    }
    return response;
  }

  const name = (device) => `devices/${encodeURIComponent(device)}`;
  const pause = (time) => new Promise((done) => setTimeout(done, time));

  function enter(shown, typed) {
    leave("");
    if (!/^[\x21-\x7e]+$/.test(shown)) {
      $("door-problem").textContent = "That cannot be a token.";
      return;
    }
    token = shown;
    if (!typed) remember(tab, "token", token);
    watchList(epoch, typed);
  }

  function leave(why) {
    epoch++;
    token = null;
    reachable = false;
    remember(tab, "token", null);
    select(null);
    listed = new Map();
    $("devices").replaceChildren();
    $("house").hidden = true;
    $("leave").hidden = true;
    $("door").hidden = false;
    $("door-problem").textContent = why;
    showStatus();
    if (why) $("token").focus();
  }

  function arrived() {
    remember(tab, "token", token);
    $("door").hidden = true;
    $("token").value = "";
    $("house").hidden = false;
    $("leave").hidden = false;
    choose();
  }

  function showStatus() {
    const live = reachable && (!feed || feed.live || feed.ended);
    const state = token === null ? "off" : live ? "live" : "waiting";
    $("status").dataset.state = state;
    say("status", { off: "Not connected", live: "Live", waiting: "Connecting…" }[state]);
  }

  // ---- the list of devices

  async function watchList(mine, typed) {
    let wait = FIRST_WAIT;
    while (mine === epoch) {
      let after = POLL;
      try {
        const stats = await (await ask("stats", AbortSignal.timeout(SILENCE))).json();
        if (mine !== epoch) return;
        wait = FIRST_WAIT;
        const first = $("house").hidden;
        reachable = true;
        showList(stats.devices);
        if (first) arrived();
        comeBack();
      } catch (problem) {
        if (mine !== epoch) return;
        if (problem.status === 401) {
          leave("The server does not know this token.");
          return;
        }
        if (typed && $("house").hidden) {
          leave("The server does not answer.");
          return;
        }
        reachable = false;
        after = wait;
        wait = Math.min(LONGEST_WAIT, wait * 2);
      }
      showStatus();
      await pause(after);
    }
  }

  function showList(devices) {
    devices.sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
    const next = new Map();
    for (const device of devices) {
      const former = listed.get(device.name);
      const entry = former || makeEntry(device.name);
      const time = former ? device.at - former.at : 0;
      const grown = former ? device.total - former.total : 0;
      if (time > 0 && grown >= 0) entry.rate = grown * 1000 / time;
      else if (time < 0) entry.rate = undefined;
      entry.at = device.at;
      entry.total = device.total;
      entry.open = device.open;
      entry.kind = device.kind;
      const text = device.open
        ? `${rateText(entry.rate)} /s · ${short.format(device.total)} in all`
        : "closed";
      if (entry.text.textContent !== text) entry.text.textContent = text;
      next.set(device.name, entry);
    }
    const changed = next.size !== listed.size || [...next.keys()].some((key) => !listed.has(key));
    listed = next;
    if (changed) $("devices").replaceChildren(...[...next.values()].map((entry) => entry.item));
    $("nothing").hidden = next.size > 0;
    mark();
  }

  function makeEntry(device) {
    const item = element("li");
    const link = element("a");
    link.href = `#device=${encodeURIComponent(device)}`;
    const text = element("small", "");
    link.append(element("strong", device), text);
    item.append(link);
    return { item, link, text, rate: undefined };
  }

  function mark() {
    for (const [device, entry] of listed) {
      if (device === selected) entry.link.setAttribute("aria-current", "true");
      else entry.link.removeAttribute("aria-current");
    }
  }

  /** Shows the device that the address names, or the first one. */
  function choose() {
    const wanted = fragment().device;
    const device = wanted !== undefined ? wanted : [...listed.keys()][0];
    if (device !== undefined && device !== selected) select(device);
  }

  /** A device that was away is there again. */
  function comeBack() {
    if (selected === null) choose();
    else if (feed && feed.ended && listed.has(selected) && listed.get(selected).open) select(selected);
  }

  function select(device) {
    if (feed) feed.stop();
    feed = null;
    selected = device;
    $("device").hidden = device === null;
    if (device === null) return;
    mark();
    say("name", device);
    say("about", "");
    notice("");
    view.clear();
    $("config").hidden = true;
    say("config-note", "");
    feed = new Feed(device);
    showStatus();
  }

  function notice(text) {
    $("notice").hidden = !text;
    say("notice", text);
  }

  // ---- the device's stream

  /** Reads Server-Sent Events; EventSource cannot show a token. */
  async function* eventsOf(response) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      rest += value;
      let end;
      while ((end = rest.indexOf("\n\n")) >= 0) {
        const event = { name: "message", data: "" };
        for (const line of rest.slice(0, end).split("\n")) {
          if (line.startsWith("event: ")) event.name = line.slice(7);
          else if (line.startsWith("data: ")) event.data += line.slice(6);
        }
        rest = rest.slice(end + 2);
        yield event;
      }
    }
  }

  class Feed {
    constructor(device) {
      this.device = device;
      this.live = false;
      this.ended = false;
      this.stopped = false;
      this.kind = listed.has(device) ? listed.get(device).kind : "PCI";
      this.run();
    }

    stop() {
      this.stopped = true;
      if (this.abort) this.abort.abort();
    }

    async run() {
      let wait = FIRST_WAIT;
      while (!this.stopped && !this.ended) {
        this.abort = new AbortController();
        let watchdog = setTimeout(() => this.abort.abort(), SILENCE);
        try {
          const response = await ask(`${name(this.device)}/stats/events`, this.abort.signal);
          for await (const event of eventsOf(response)) {
            if (this.stopped) return;
            clearTimeout(watchdog);
            watchdog = setTimeout(() => this.abort.abort(), SILENCE);
            wait = FIRST_WAIT;
            if (event.name === "closed") {
              this.end("The owner has closed this device. What is below was true before.");
            } else {
              if (!this.live) {
                this.live = true;
                describe(this);
                readConfig(this);
              }
              view.take(event.name === "snapshot", JSON.parse(event.data), this.kind);
            }
            showStatus();
          }
        } catch (problem) {
          if (this.stopped) return;
          if (problem.status === 401) return leave("The server does not know this token any more.");
          if (problem.status === 404) this.end("This device is not exported.");
          if (problem.status === 410) this.end("The owner has closed this device.");
        } finally {
          clearTimeout(watchdog);
        }
        this.live = false;
        if (!this.stopped) showStatus();
        if (!this.stopped && !this.ended) {
          await pause(wait * (0.5 + Math.random() / 2));
          wait = Math.min(LONGEST_WAIT, wait * 2);
        }
      }
    }

    end(why) {
      this.ended = true;
      notice(why);
      view.stop();
    }
  }

  async function describe(mine) {
    try {
      const [info, irqs] = await Promise.all([
        ask(name(mine.device)).then((response) => response.json()),
        ask(`${name(mine.device)}/irqs`).then((response) => response.json()),
      ]);
      if (mine !== feed) return;
      const there = irqs.irqs
        .filter((irq) => irq.count > 0)
        .map((irq) => irq.count === 1 ? indexName(irq.index, info.kind) : `${whole.format(irq.count)} ${indexName(irq.index, info.kind)}`);
      say("about", [
        info.kind === "PCI" ? "PCI device" : info.kind,
        there.length ? `interrupts: ${there.join(", ")}` : "no interrupts",
        info.resettable ? "can be reset" : "",
        info.isolated ? "" : "not isolated by an IOMMU",
        `from afar: ${info.allowed.length ? info.allowed.join(", ").toLowerCase().replaceAll("_", " ") : "looking only"}`,
      ].filter(Boolean).join(" · "));
    } catch {
      // The stream tells what is wrong.
    }
  }

  const indexName = (index, kind) => kind === "PCI" && index < INDICES.length ? INDICES[index] : `index ${index}`;

  function vectorName(index, vector, kind) {
    const single = kind === "PCI" && (index === 0 || index > 2);
    return single ? indexName(index, kind) : `${indexName(index, kind)} ${vector}`;
  }

  // ---- tables of which only what has changed is drawn

  class Rows {
    constructor(body, columns) {
      this.body = body;
      this.columns = columns;
      this.rows = new Map();
    }

    put(key, values) {
      let row = this.rows.get(key);
      if (!row) {
        row = { line: element("tr"), cells: [], values: [] };
        this.columns.forEach((column, i) => {
          const cell = element(i === 0 ? "th" : "td", "", column === "number" ? "number" : "");
          if (i === 0) cell.scope = "row";
          const inner = column === "state" ? element("span", "", "state") : cell;
          if (inner !== cell) cell.append(inner);
          row.line.append(cell);
          row.cells.push(inner);
        });
        this.rows.set(key, row);
      }
      values.forEach((value, i) => {
        if (row.values[i] === value) return;
        row.cells[i].textContent = value;
        if (this.columns[i] === "state") row.cells[i].className = `state ${value}`;
      });
      row.values = values;
      return row;
    }

    keep(keys) {
      for (const [key, row] of this.rows) {
        if (!keys.has(key)) {
          row.line.remove();
          this.rows.delete(key);
        }
      }
    }

    /** Moves what is not in its place. */
    sort(keys) {
      let here = this.body.firstChild;
      for (const key of keys) {
        const { line } = this.rows.get(key);
        if (line === here) here = here.nextSibling;
        else this.body.insertBefore(line, here);
      }
    }

    clear() {
      this.rows.clear();
      this.body.replaceChildren();
    }
  }

  // ---- what is shown of a device

  const view = {
    vectorRows: new Rows($("vectors"), ["", "number", "number", "state", "number", "number", "number", "number", ""]),
    streamRows: new Rows($("streams"), ["", "", "", "number", "number"]),
    vectors: new Map(),
    streams: new Map(),
    history: [],
    slots: [],
    at: undefined,
    showQuiet: undefined,
    room: ROWS,

    clear() {
      this.vectorRows.clear();
      this.streamRows.clear();
      this.vectors.clear();
      this.streams.clear();
      this.history = [];
      this.slots = [];
      this.at = undefined;
      this.showQuiet = undefined;
      this.room = ROWS;
      for (const id of ["rate", "total", "armed", "wanted"]) say(id, "–");
      this.draw();
    },

    /** Nothing moves any more. */
    stop() {
      for (const vector of this.vectors.values()) vector.rate = undefined;
      this.draw();
    },

    take(whole, seen, kind) {
      if (this.at !== undefined && seen.at < this.at) {
        // Another server: its totals are others.
        this.vectors.clear();
        this.history = [];
        this.at = undefined;
      }
      const time = this.at === undefined ? 0 : seen.at - this.at;
      const former = this.vectors;
      if (whole) {
        this.vectors = new Map();
        this.streams.clear();
      }
      for (const vector of former.values()) vector.rate = time > 0 ? 0 : vector.rate;
      for (const vector of seen.vectors) {
        vector.key = `${vector.index}/${vector.vector}/${vector.session}`;
        vector.name = vectorName(vector.index, vector.vector, kind);
        const before = former.get(vector.key);
        // Armed since then, it has counted from 0.
        const grown = vector.total - (before && before.total <= vector.total ? before.total : 0);
        if (this.at === undefined) vector.rate = undefined;
        else vector.rate = time > 0 ? grown * 1000 / time : before && before.rate;
        this.vectors.set(vector.key, vector);
      }
      for (const stream of seen.streams) {
        this.streams.set(`${stream.session}/${stream.index}/${stream.vector}`, stream);
      }
      if (time > 0) {
        const rates = new Map();
        let all = 0;
        for (const vector of this.vectors.values()) {
          if (vector.rate > 0) {
            rates.set(vector.key, vector.rate);
            all += vector.rate;
          }
        }
        this.history.push({ at: seen.at, all, rates });
        while (this.history[0].at < seen.at - WINDOW - 2000) this.history.shift();
      }
      if (time !== 0 || this.at === undefined) this.at = seen.at;
      this.sessions = seen.sessions;
      this.kind = kind;
      this.draw();
    },

    draw() {
      const busy = this.busy();
      this.drawTiles();
      this.drawVectors(busy);
      this.drawStreams();
      chart.draw(this, busy);
    },

    /** How many signals came in the last minute, by vector. */
    busy() {
      const sums = new Map();
      for (const sample of this.history) {
        for (const [key, rate] of sample.rates) sums.set(key, (sums.get(key) || 0) + rate);
      }
      return sums;
    },

    drawTiles() {
      if (this.at === undefined) return;
      let rate = this.history.length ? 0 : undefined;
      let total = 0;
      let wanted = 0;
      for (const vector of this.vectors.values()) {
        if (vector.rate !== undefined && rate !== undefined) rate += vector.rate;
        total += vector.total;
        if (vector.demand !== 0) wanted++;
      }
      say("rate", rateText(feed && feed.ended ? undefined : rate));
      say("total", whole.format(total));
      say("armed", whole.format(this.vectors.size));
      say("wanted", whole.format(wanted));
    },

    drawVectors(busy) {
      const all = [...this.vectors.values()];
      const quiet = all.filter((vector) => vector.total === 0).length;
      const show = this.showQuiet === undefined ? all.length <= FEW : this.showQuiet;
      $("quiet").checked = show;
      $("quiet-choice").hidden = quiet === 0;
      say("quiet-text", `Show ${count(quiet, "vector", "vectors")} without signals`);
      $("no-vectors").hidden = all.length > 0;
      const byNumber = (a, b) => a.index - b.index || a.vector - b.vector || a.session - b.session;
      const byRate = (a, b) => (busy.get(b.key) || 0) - (busy.get(a.key) || 0) || byNumber(a, b);
      const fitting = all.filter((vector) => show || vector.total > 0);
      fitting.sort($("order").value === "rate" ? byRate : byNumber);
      const shown = fitting.slice(0, this.room);
      $("more").hidden = fitting.length === shown.length;
      say("more", `Show more: ${count(fitting.length - shown.length, "vector is", "vectors are")} left out`);
      this.vectorRows.keep(new Set(shown.map((vector) => vector.key)));
      for (const vector of shown) {
        const row = this.vectorRows.put(vector.key, [
          vector.name,
          whole.format(vector.total),
          rateText(vector.rate),
          STATES[vector.state] || vector.state,
          waitingText(vector.waiting),
          whole.format(vector.behind),
          whole.format(vector.subscribers),
          demandText(vector.demand),
          vector.session === 0 ? "the owner" : `client ${vector.session}`,
        ]);
        row.cells[4].classList.toggle("some", vector.waiting > 0);
        row.cells[5].classList.toggle("some", vector.behind > 0);
      }
      this.vectorRows.sort(shown.map((vector) => vector.key));
    },

    drawStreams() {
      const sessions = new Map((this.sessions || []).map((each) => [each.session, each.connected]));
      const all = [...this.streams.values()].filter((stream) => sessions.has(stream.session));
      const away = [...sessions.values()].filter((connected) => !connected).length;
      const wanting = all.filter((stream) => stream.demand !== 0).length;
      say("sessions", sessions.size === 0
        ? "No client in another process uses this device."
        : `${count(sessions.size, "client", "clients")}${away ? `, ${whole.format(away)} of them away and awaited` : ""}; `
          + `${count(all.length, "stream", "streams")}, ${whole.format(wanting)} with demand.`);
      all.sort((a, b) => a.session - b.session || a.index - b.index || a.vector - b.vector);
      const shown = all.slice(0, ROWS);
      const key = (stream) => `${stream.session}/${stream.index}/${stream.vector}`;
      this.streamRows.keep(new Set(shown.map(key)));
      for (const stream of shown) {
        this.streamRows.put(key(stream), [
          `client ${stream.session}, ${vectorName(stream.index, stream.vector, this.kind)}`,
          sessions.get(stream.session) ? "connected" : "away",
          stream.shared ? "shared with the owner" : "its own",
          whole.format(stream.total),
          demandText(stream.demand),
        ]);
      }
      this.streamRows.sort(shown.map(key));
      $("streams-box").hidden = shown.length === 0;
      $("more-streams").hidden = all.length === shown.length;
      say("more-streams", `And ${count(all.length - shown.length, "more stream", "more streams")}.`);
    },
  };

  // ---- the chart

  const chart = {
    draw(seen, busy) {
      const { history } = seen;
      this.assign(seen, busy);
      const svg = $("chart");
      const box = { left: 44, top: 8, right: svg.clientWidth - 8, bottom: 176 };
      const end = history.length ? history[history.length - 1].at : 0;
      const peak = Math.max(0, ...history.map((sample) => sample.all));
      const top = this.ceiling(peak);
      const x = (at) => box.right - (end - at) / WINDOW * (box.right - box.left);
      const y = (rate) => box.bottom - rate / top * (box.bottom - box.top);
      const parts = [];
      for (const share of [0, 0.5, 1]) {
        const at = Math.round(y(top * share)) + 0.5;
        parts.push(drawn("line", { class: "grid", x1: box.left, x2: box.right, y1: at, y2: at }));
        const text = drawn("text", { x: box.left - 8, y: at + 4, "text-anchor": "end" });
        text.textContent = short.format(top * share);
        parts.push(text);
      }
      for (const [age, anchor] of [[60, "start"], [30, "middle"], [0, "end"]]) {
        const text = drawn("text", { x: x(end - age * 1000), y: box.bottom + 18, "text-anchor": anchor });
        text.textContent = age === 0 ? "now" : `${age} s ago`;
        parts.push(text);
      }
      const recent = history.filter((sample) => sample.at >= end - WINDOW);
      if (recent.length > 1) {
        const line = (of) => recent
          .map((sample, i) => `${i ? "L" : "M"}${x(sample.at).toFixed(1)} ${y(of(sample)).toFixed(1)}`)
          .join("");
        const whole = line((sample) => sample.all);
        parts.push(drawn("path", { class: "area", d: `${whole}L${box.right} ${box.bottom}L${x(recent[0].at).toFixed(1)} ${box.bottom}Z` }));
        parts.push(drawn("path", { class: "s0", d: whole }));
        seen.slots.forEach((key, i) => {
          if (key) parts.push(drawn("path", { class: `s${i + 1}`, d: line((sample) => sample.rates.get(key) || 0) }));
        });
      }
      svg.replaceChildren(...parts);
      this.legend(seen);
      this.text(seen, recent, peak);
    },

    /** A vector keeps its line while it is one of the busiest. */
    assign(seen, busy) {
      const best = [...busy].sort((a, b) => b[1] - a[1]).slice(0, LINES).map(([key]) => key);
      const slots = Array.from({ length: LINES }, (_, i) => best.includes(seen.slots[i]) ? seen.slots[i] : null);
      for (const key of best) {
        if (!slots.includes(key)) slots[slots.indexOf(null)] = key;
      }
      // One vector alone is the whole.
      seen.slots = busy.size > 1 ? slots : slots.fill(null);
    },

    /** A round number that is not below. */
    ceiling(peak) {
      if (peak <= 10) return 10;
      const unit = 10 ** Math.floor(Math.log10(peak));
      return [1, 2, 4, 6, 8, 10].find((n) => n * unit >= peak) * unit;
    },

    legend(seen) {
      const entries = [];
      const vectors = [...seen.vectors.values()];
      const all = vectors.reduce((sum, vector) => sum + (vector.rate || 0), 0);
      entries.push([0, "all vectors", seen.history.length ? all : undefined]);
      seen.slots.forEach((key, i) => {
        const vector = key && seen.vectors.get(key);
        if (vector) entries.push([i + 1, vector.name, vector.rate]);
      });
      $("legend").replaceChildren(...entries.map(([slot, label, rate]) => {
        const item = element("li");
        const sample = drawn("svg", { width: 26, height: 8, "aria-hidden": "true" });
        sample.append(drawn("line", { class: `s${slot}`, x1: 1, x2: 25, y1: 4, y2: 4 }));
        item.append(sample, label, element("span", `${rateText(rate)} /s`));
        return item;
      }));
    },

    text(seen, recent, peak) {
      if (!recent.length) {
        say("chart-text", "Nothing to show yet.");
        return;
      }
      const mean = recent.reduce((sum, sample) => sum + sample.all, 0) / recent.length;
      const busiest = seen.slots.map((key) => key && seen.vectors.get(key)).filter(Boolean).map((vector) => vector.name);
      say("chart-text", `Now ${rateText(recent[recent.length - 1].all)}, at most ${rateText(peak)}, `
        + `on average ${rateText(mean)}.${busiest.length ? ` Busiest: ${busiest.join(", ")}.` : ""}`);
    },
  };

  // ---- configuration space

  async function readConfig(mine) {
    say("config-note", "Reading…");
    try {
      const config = await (await ask(`${name(mine.device)}/config/decoded`)).json();
      if (mine !== feed) return;
      say("config-note", "");
      showConfig(config);
      $("config").hidden = false;
    } catch (problem) {
      if (mine !== feed) return;
      $("config").hidden = true;
      say("config-note", problem.status === 403
        ? "Not allowed: the export and the token need READ_CONFIG."
        : problem.status === 501
          ? "This device has none: it is not PCI."
          : problem instanceof Failure ? `Not read: ${problem.message}` : "Not read: the server does not answer.");
    }
  }

  function row(...cells) {
    const line = element("tr");
    cells.forEach((cell, i) => {
      const made = element(i === 0 ? "th" : "td");
      if (i === 0) made.scope = "row";
      made.append(cell);
      line.append(made);
    });
    return line;
  }

  function showConfig(config) {
    $("header").replaceChildren(...config.header.map((register) =>
      row(register.name, hex(register.offset, 2), register.value, register.bits ? bitList(register.bits) : register.meaning || "")));
    $("bars").replaceChildren(...config.bars.map((bar) => {
      const line = row(`BAR ${bar.index}`, hex(bar.offset, 2), bar.address, sizeText(bar.size),
        `${bar.bits}-bit ${bar.kind}${bar.prefetchable ? ", prefetchable" : ""}`);
      line.cells[3].className = "number";
      return line;
    }));
    $("capabilities").replaceChildren(...config.capabilities.map((capability) => {
      const item = element("li");
      const fields = element("dl");
      for (const field of capability.fields) {
        const pair = element("div");
        pair.append(element("dt", field.name), element("dd", field.value));
        fields.append(pair);
      }
      item.append(
        element("h5", capability.name),
        element("p", `${capability.extended ? "extended " : ""}id ${capability.id} at 0x${hex(capability.offset, 2)}`),
        fields);
      return item;
    }));
    const problem = config.problem || (config.capabilities.length ? "" : "None.");
    $("capabilities-note").hidden = !problem;
    say("capabilities-note", problem);
    say("bytes", dump(config.data));
  }

  function bitList(bits) {
    const list = element("ul", undefined, "bits");
    for (const bit of bits) {
      const item = element("li", `${bit.name} ${bit.set ? "+" : "−"}`, bit.set ? "set" : "");
      item.setAttribute("aria-label", `${bit.name}: ${bit.set ? "set" : "not set"}`);
      list.append(item);
    }
    return list;
  }

  /** 16 bytes a line; lines like the one before are left out. */
  function dump(data) {
    const lines = [];
    let former = null;
    for (let at = 0; at < data.length; at += 32) {
      const line = data.slice(at, at + 32);
      if (line !== former) lines.push(`${hex(at / 2, 3)}: ${line.replace(/..(?=.)/g, "$& ")}`);
      else if (lines[lines.length - 1] !== "*") lines.push("*");
      former = line;
    }
    lines.push(`${hex(data.length / 2, 3)}: end`);
    return lines.join("\n");
  }

  // ---- what the user does

  function showTheme(theme) {
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
    $("theme").value = theme || "";
  }

  $("theme").addEventListener("change", (event) => {
    remember(browser, "theme", event.target.value);
    showTheme(event.target.value);
  });

  $("door").addEventListener("submit", (event) => {
    event.preventDefault();
    enter($("token").value.trim(), true);
  });

  $("leave").addEventListener("click", () => {
    leave("");
    $("token").focus();
  });

  $("quiet").addEventListener("change", (event) => {
    view.showQuiet = event.target.checked;
    view.draw();
  });

  $("order").addEventListener("change", () => view.draw());

  $("more").addEventListener("click", () => {
    view.room *= 4;
    view.draw();
  });

  $("read").addEventListener("click", () => {
    if (feed) readConfig(feed);
  });

  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    $("main").focus();
  });

  addEventListener("hashchange", () => {
    const shown = tokenOfAddress();
    if (shown !== null) enter(shown, false);
    else if (token !== null && !$("house").hidden) choose();
  });

  addEventListener("resize", () => {
    if (selected !== null) chart.draw(view, view.busy());
  });

  showTheme(remembered(browser, "theme"));
  const shown = tokenOfAddress() || remembered(tab, "token");
  if (shown) {
    enter(shown, false);
    $("door").hidden = token !== null;
  } else {
    leave("");
  }
})();
