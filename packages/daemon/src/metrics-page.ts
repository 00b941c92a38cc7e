import type { ServerResponse } from "node:http";
import type { PrometheusRegister } from "./prometheus.ts";

/** Answers the port for metrics and health: `/metrics`, `/livez` and `/readyz`. */
export async function answerMetrics(
  prometheus: PrometheusRegister,
  url: string,
  response: ServerResponse,
): Promise<void> {
  const path = url.split("?")[0];
  if (path === "/livez" || path === "/readyz") {
    response.writeHead(200, { "content-type": "text/plain" }).end("ok\n");
    return;
  }
  if (path !== "/metrics") {
    response.writeHead(404, { "content-type": "text/plain" }).end("see /metrics and /livez\n");
    return;
  }
  response.writeHead(200, { "content-type": prometheus.contentType });
  response.end(await prometheus.text());
}
