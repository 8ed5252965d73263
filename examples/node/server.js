// SPDX-License-Identifier: Apache-2.0
// Adds up numbers that are posted to it, one a line, in a worker thread for each request. Knows nothing of enclaves.
const http = require('http');
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');

if (isMainThread) {
	http.createServer((request, response) => {
		let body = '';
		request.on('data', part => { body += part; if (body.length > 1e6) request.destroy(); });
		request.on('end', () => {
			const worker = new Worker(__filename, { workerData: body });
			worker.on('message', sum => response.end(JSON.stringify({ sum }) + '\n'));
			worker.on('error', e => { response.statusCode = 400; response.end(e.message + '\n'); });
		});
	}).listen(process.env.PORT, () => console.log('ready'));
	process.on('SIGTERM', () => process.exit(0));
} else {
	const numbers = workerData.trim().split(/\s+/).map(Number);
	if (numbers.some(Number.isNaN))
		throw new Error('not a number');
	parentPort.postMessage(numbers.reduce((a, b) => a + b, 0));
}
