// SPDX-License-Identifier: Apache-2.0
// A page that asks a server in an enclave through an OHTTP gateway. settings.json, from where this page comes, says which gateway and whom to believe:
// {"gateway": URL, "target": URL, "jwks": {"keys": [...]}, "measurements": [...], "insecure_simulated": false}
import {open} from "./ohttp.js";

const $ = id => document.getElementById(id);
let gateway;

function problem(e) {
	$("problem").textContent = e ? e.message : "";
	$("problem").hidden = !e;
}

async function start() {
	const settings = await (await fetch("settings.json")).json();
	$("url").value = settings.target ?? "";
	gateway = await open(settings.gateway, {jwks: settings.jwks, measurements: settings.measurements, insecureSimulated: settings.insecure_simulated === true});
	$("state").textContent = `The gateway runs in the enclave ${gateway.claims.measurement}.`;
	$("send").disabled = false;
}

async function ask() {
	problem();
	$("status").textContent = $("answer").textContent = "";
	const body = $("method").value === "GET" ? undefined : $("body").value;
	const answer = await gateway.fetch($("url").value, {method: $("method").value, body});
	$("status").textContent = `${answer.status} ${answer.headers.get("content-type") ?? ""}`;
	const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
	for (let r; reader && !(r = await reader.read()).done;)
		$("answer").textContent += r.value;
	$("status").textContent += " – complete";
}

$("form").addEventListener("submit", e => {
	e.preventDefault();
	ask().catch(problem);
});
start().catch(e => {
	$("state").textContent = "No gateway that can be believed.";
	problem(e);
});
