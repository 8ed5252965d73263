// SPDX-License-Identifier: Apache-2.0
// The page's views. Whatever comes from the broker becomes text nodes: nothing of it is ever read as HTML.
import * as ask from "./ask.js";
import * as log from "./log.js";

const PAGE = 50, STEP = 500, RECENT = 2000, HITS = 200;
const $ = id => document.getElementById(id);
let inside = false, turn = 0;

function make(tag, attributes = {}, ...children) {
	const e = document.createElement(tag);
	for (const [name, value] of Object.entries(attributes)) {
		if (name === "click")
			e.addEventListener("click", value);
		else
			e.setAttribute(name, value);
	}
	for (const c of children.flat())
		e.append(c instanceof Node ? c : document.createTextNode(String(c ?? "")));
	return e;
}

function problem(e) {
	$("problem").textContent = e ? e.message : "";
	$("problem").hidden = !e;
}

// columns: [heading, function of the row that gives text or nodes]
function table(name, columns, rows) {
	if (!rows.length)
		return make("p", {class: "soft"}, "There are none.");
	return make("table", {"aria-label": name}, make("thead", {}, make("tr", {}, columns.map(([heading]) => make("th", {scope: "col"}, heading)))),
		make("tbody", {}, rows.map(row => make("tr", {}, columns.map(([heading, cell]) => make("td", {"data-label": heading}, cell(row) ?? ""))))));
}

const code = text => make("span", {class: "code"}, text ?? "");
const outcome = o => make("span", {class: o === "refused" ? "bad" : "good"}, o ?? "");
const list = pairs => make("dl", {}, pairs.filter(([, v]) => v !== undefined && v !== null).flatMap(([k, v]) => [make("dt", {}, k), make("dd", {}, v instanceof Node ? v : String(v))]));

async function overview() {
	const s = await ask.json("/coffer/v0/status");
	const parts = [make("h2", {}, "Overview")];
	if (s.simulated_accepted)
		parts.push(make("p", {class: "bad"}, "INSECURE: this broker accepts simulated hardware, which protects nothing."));
	if (s.debug_accepted)
		parts.push(make("p", {class: "bad"}, "INSECURE: this broker accepts debug enclaves, which show their host what they do."));
	parts.push(list(Object.entries(s).map(([k, v]) => [k.replaceAll("_", " "), typeof v === "object" ? JSON.stringify(v) : v])));
	return parts;
}

const policies = async () => (await ask.json("/coffer/v0/policy")).policies;

// Brokers that keep no versions list no secrets: then what their policies and log name is shown.
async function secrets() {
	try {
		return (await ask.json("/coffer/v0/secret")).secrets;
	} catch (e) {
		if (e.status !== 404)
			throw e;
	}
	return [...new Set((await policies()).map(p => p.resource))].map(resource => ({resource}));
}

const version = v => `${v.version}: ${v.state}${v.not_after ? `, until ${v.not_after}` : ""}${v.used ? `, used ${v.used} times` : ""}`;

async function resources() {
	const rows = await secrets();
	return [make("h2", {}, "Resources"), table("Resources", [
		["Resource", r => code(r.resource)],
		["Kind", r => r.changed_outside ? make("span", {class: "bad"}, "changed outside the broker") : [r.kind ?? "", r.disabled ? " (disabled)" : ""]],
		["Current", r => r.current],
		["Versions", r => (r.versions ?? []).map(v => make("div", {}, version(v)))],
		["Uses", r => r.uses_total || r.uses ? `${r.used_total ?? 0} of ${r.uses_total ?? r.uses}` : r.used_total],
		["Note", r => r.note],
	], rows)];
}

async function policyView() {
	return [make("h2", {}, "Policies"), table("Policies", [
		["Resource", p => code(p.resource)],
		["Measurement", p => code(p.measurement)],
		["Since", p => p.created],
		["Note", p => [p.note ?? "", p.changed_outside ? make("div", {class: "bad"}, "CHANGED outside the broker: allows nothing") : ""]],
	], await policies())];
}

// Those who attested, as the log has it: who holds one key is one workload.
async function workloads() {
	const size = (await log.head()).size, found = new Map();
	for (const {record: r} of await log.records(Math.max(0, size - RECENT), size)) {
		if (!r.key || (r.event !== "attest" && r.event !== "resource"))
			continue;
		const w = found.get(r.key) ?? {key: r.key, got: new Set(), refused: 0};
		if (r.event === "attest" && r.outcome === "accepted")
			Object.assign(w, {tee: r.tee, measurement: r.measurement, tcb: r.tcb, time: r.time, from: r.from});
		else if (r.outcome === "refused")
			w.refused++;
		else
			w.got.add(r.resource);
		found.set(r.key, w);
	}
	const rows = [...found.values()].filter(w => w.time).reverse();
	return [make("h2", {}, "Attested workloads"), make("p", {class: "soft"}, `From the last ${Math.min(size, RECENT)} records of the log.`),
		table("Attested workloads", [
			["When", w => w.time],
			["TEE", w => w.tee],
			["Measurement", w => code(w.measurement)],
			["TCB", w => w.tcb],
			["From", w => w.from],
			["Got", w => [...w.got].map(r => make("div", {class: "code"}, r))],
			["Refused", w => w.refused ? make("span", {class: "bad"}, w.refused) : ""],
		], rows)];
}

async function proved(index, button, place, key) {
	button.disabled = true;
	place.replaceChildren("checking");
	try {
		const lines = await log.prove(index, key.value.trim());
		place.replaceChildren(...lines.map(l => make("div", {class: l.good ? "good" : "bad"}, `${l.good ? "\u2713" : "\u2717"} ${l.text}`)));
	} catch (e) {
		place.replaceChildren(make("span", {class: "bad"}, e.message));
	}
	button.disabled = false;
}

function details(row, key) {
	const place = make("div", {class: "proof", role: "status"});
	const button = make("button", {type: "button", click: () => proved(row.index, button, place, key)}, `Verify record ${row.index}`);
	return make("details", {}, make("summary", {}, "Record"), make("pre", {}, JSON.stringify(row.record, null, 1)), button, place);
}

const auditTable = (rows, key) => table("Audit log", [
	["Number", r => r.index],
	["Time", r => r.record.time],
	["Event", r => r.record.event],
	["Outcome", r => outcome(r.record.outcome)],
	["Resource", r => code(r.record.resource)],
	["Who", r => r.record.by ?? r.record.from],
	["Why", r => (r.record.refusals ?? []).map(f => make("div", {}, `${f.claim}: expected ${f.expected}, found ${f.found}`))],
	["", r => details(r, key)],
], rows);

async function audit() {
	const size = (await log.head()).size;
	const place = make("div"), where = make("span", {class: "soft", role: "status"}), key = make("input", {type: "search", id: "log-key", spellcheck: "false"});
	const word = make("input", {type: "search", id: "word", "aria-label": "Search the log"});
	const older = make("button", {type: "button", click: () => show(Math.max(0, from - PAGE))}, "Older");
	const newer = make("button", {type: "button", click: () => show(from + PAGE)}, "Newer");
	let from = 0, searching = 0;
	async function show(start) {
		const mine = ++searching;
		try {
			from = Math.max(0, Math.min(start, size - 1));
			const rows = await log.records(from, Math.min(size, from + PAGE));
			if (mine !== searching)
				return;
			where.textContent = size ? `${from} to ${Math.min(size, from + PAGE) - 1} of ${size}` : "";
			older.disabled = from === 0;
			newer.disabled = from + PAGE >= size;
			place.replaceChildren(auditTable(rows.reverse(), key));
		} catch (e) {
			problem(e);
		}
	}
	// From the newest back; stops at HITS.
	async function search(text) {
		const mine = ++searching, hits = [];
		try {
			for (let end = size; end > 0 && hits.length < HITS; end -= STEP) {
				const rows = await log.records(Math.max(0, end - STEP), end);
				if (mine !== searching)
					return;
				hits.push(...rows.reverse().filter(r => r.line.toLowerCase().includes(text)));
				where.textContent = `${hits.length} found, ${Math.max(0, end - STEP)} records to go`;
			}
			where.textContent = `${hits.length} found`;
			place.replaceChildren(auditTable(hits.slice(0, HITS), key));
		} catch (e) {
			problem(e);
		}
	}
	const form = make("form", {role: "search"}, word, make("button", {type: "submit"}, "Search"));
	form.addEventListener("submit", e => {
		e.preventDefault();
		const text = word.value.trim().toLowerCase();
		if (text)
			search(text);
		else
			show(size - PAGE);
	});
	await show(size - PAGE);
	return [make("h2", {}, "Audit log"), make("div", {class: "bar"}, form, newer, older, where),
		make("label", {for: "log-key"}, "The log's public key (audit.pub), to check heads against your own copy"), key, place];
}

const views = {overview, resources, policies: policyView, workloads, audit};

async function go() {
	if (!inside)
		return;
	const mine = ++turn, name = Object.hasOwn(views, location.hash.slice(1)) ? location.hash.slice(1) : "overview";
	for (const a of $("nav").children) {
		if (a.hash === `#${name}`)
			a.setAttribute("aria-current", "page");
		else
			a.removeAttribute("aria-current");
	}
	problem(null);
	$("view").setAttribute("aria-busy", "true");
	try {
		const parts = await views[name]();
		if (mine === turn)
			$("view").replaceChildren(...parts);
	} catch (e) {
		if (mine === turn) {
			$("view").replaceChildren();
			problem(e);
		}
	}
	if (mine === turn)
		$("view").removeAttribute("aria-busy");
}

function enter(open) {
	inside = open;
	$("login").hidden = open;
	$("nav").hidden = $("leave").hidden = $("view").hidden = !open;
	$("view").replaceChildren();
	$("who").textContent = "";
	$("login").reset();
	log.forget();
}

// Who the broker says one is; brokers without identities know the token alone.
async function whoami() {
	try {
		return (await ask.json("/coffer/v0/whoami")).name ?? "";
	} catch (e) {
		if (e.status !== 404)
			throw e;
		await ask.json("/coffer/v0/status");
		return "admin token";
	}
}

$("login").addEventListener("submit", async e => {
	e.preventDefault();
	problem(null);
	$("enter").disabled = true;
	try {
		const file = $("key").files[0];
		if (file)
			await ask.useKey(await file.text());
		else
			ask.useToken($("token").value);
		const name = await whoami();
		enter(true);
		$("who").textContent = name;
		go();
		$("main").focus();
	} catch (error) {
		ask.leave();
		problem(error);
	}
	$("enter").disabled = false;
});

$("leave").addEventListener("click", () => {
	ask.leave();
	problem(null);
	enter(false);
	$("token").focus();
});

$("theme").addEventListener("click", () => {
	const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
	document.documentElement.dataset.theme = dark ? "light" : "dark";
});

addEventListener("hashchange", () => {
	go();
	$("main").focus();
});
