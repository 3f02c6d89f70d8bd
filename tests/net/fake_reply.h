#pragma once
// An HTTP request whose answer a test looks at.

#include <catch2/catch.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "net/http.h"

namespace gpupool {

// What a client would see of its request.
struct Seen {
  std::optional<HttpAnswer> answer;
  std::optional<HttpHeaders> stream;
  std::vector<std::string> events;
  bool ended = false;
  bool cut = false;
  std::function<void()> gone;
};

class FakeReply : public HttpReply {
 public:
  explicit FakeReply(std::shared_ptr<Seen> seen) : seen_(std::move(seen)) {}
  void answer(HttpAnswer answer) override {
    REQUIRE_FALSE(seen_->answer);
    seen_->answer = std::move(answer);
  }
  void begin_stream(const HttpHeaders& headers) override { seen_->stream = headers; }
  void event(std::string text) override { seen_->events.push_back(std::move(text)); }
  void end_stream() override { seen_->ended = true; }
  void cut() override { seen_->cut = true; }
  void when_gone(std::function<void()> gone) override { seen_->gone = std::move(gone); }

 private:
  const std::shared_ptr<Seen> seen_;
};

}  // namespace gpupool
