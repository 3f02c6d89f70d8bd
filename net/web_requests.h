#pragma once
// What an HTTP request asks of the pool, and how that is said to a session. Every part of a request
// is checked here, and what is wrong with it named; whether the pool may and can do it is not a
// question of this file. Pure.

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "actors/messages.h"
#include "net/http.h"

namespace gpupool {

enum class WebAsk : std::uint8_t {
  file,  // of the page
  pool,  // what there is and who asks, without a session
  quota,
  jobs,
  submit,
  job,
  cancel,
  explain,  // a job
  refusal,  // the same of a refused request
  result,
  log,
  preview,
  receipts,
  changes,
  usage,
  quote,
  events,  // a stream
  overview,
  operate,
  metrics
};

struct WebRequest {
  WebAsk ask = WebAsk::file;
  JobId job;          // that the path names
  RequestId request;  // that the path or the body names; 0: none
  JobRequest body;    // to submit or to quote
  bool says_detached = false;
  std::uint64_t stream = 0;  // that takes the events of a submit; 0: none
  std::vector<std::string> words;
  JobId before;
  Duration since{};  // so long ago; 0: everything
  std::uint32_t limit = 0;
};

// What the request asks, or the answer that it is not to be asked so: 400, 404, 405 with Allow,
// 413, 415, 403 from another site's page.
std::variant<WebRequest, HttpAnswer> read_web_request(const HttpRequest& request);

// {"error": {...}} with the status that such an error has.
HttpAnswer web_error(const Error& error);
int web_status(Errc code);

}  // namespace gpupool
