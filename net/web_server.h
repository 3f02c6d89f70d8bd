#pragma once
// The web front on its own thread: HTTP before it, and behind it the gateway's door, through which
// sessions answer.

#include <memory>
#include <string>

#include "actors/perform.h"
#include "net/http.h"
#include "net/web_api.h"
#include "net/web_door.h"

namespace gpupool {

class WebServer {
 public:
  // Listens at config.web.endpoint; warns if other machines reach it. Error: system_failed with it.
  static Result<std::unique_ptr<WebServer>> open(Surroundings around, std::shared_ptr<WebDoor> door,
                                                 const std::string& build);
  ~WebServer();
  WebServer(const WebServer&) = delete;
  WebServer& operator=(const WebServer&) = delete;

  const std::string& endpoint() const { return server_->endpoint(); }

 private:
  WebServer(Surroundings around, std::shared_ptr<WebDoor> door, const std::string& build);
  ProcessFacts process() const;

  const Surroundings around_;
  const std::shared_ptr<WebDoor> door_;
  WebApi api_;
  std::unique_ptr<HttpServer> server_;  // last: its thread uses everything above
};

}  // namespace gpupool
