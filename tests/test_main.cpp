// The main() that every Catch2 test program shares, compiled once. What failed is told once more at
// the end, in short: of a long output the last lines are what people see. A case that does not end
// is told as well: after GPUPOOL_CASE_SECONDS (unset: never) what it started is killed, and the
// program aborts inside of it, which Catch2 reports with the last assertion that was reached.
#define CATCH_CONFIG_MAIN
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

namespace {

// Aborts the thread that made it if it isn't gone in time.
class CaseLimit {
 public:
  CaseLimit(std::string test, std::chrono::seconds limit)
      : test_(std::move(test)), limit_(limit), thread_([this] { watch(); }) {}
  ~CaseLimit() {
    {
      const std::lock_guard lock(mutex_);
      over_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }
  CaseLimit(const CaseLimit&) = delete;
  CaseLimit& operator=(const CaseLimit&) = delete;

 private:
  void watch() {
    std::unique_lock lock(mutex_);
    if (wake_.wait_for(lock, limit_, [this] { return over_; })) return;
    std::cout << "FAILED: " << test_ << "\n  not over after " << limit_.count() << " s\n"
              << std::flush;
    const std::string self = "/proc/self/task/" + std::to_string(getpid());
    std::ifstream children(self + "/children");
    for (pid_t child = 0; children >> child;) kill(child, SIGKILL);
    pthread_kill(aborted_, SIGABRT);
  }

  const std::string test_;
  const std::chrono::seconds limit_;
  const pthread_t aborted_ = pthread_self();
  std::mutex mutex_;
  std::condition_variable wake_;
  bool over_ = false;   // guarded by it
  std::thread thread_;  // last: it uses everything above
};

class FailedAgain : public Catch::TestEventListenerBase {
 public:
  using TestEventListenerBase::TestEventListenerBase;

  void testCaseStarting(const Catch::TestCaseInfo& info) override {
    test_ = info.name;
    if (const char* limit = std::getenv("GPUPOOL_CASE_SECONDS"))
      limit_.emplace(test_, std::chrono::seconds(std::atoi(limit)));
  }
  void testCaseEnded(const Catch::TestCaseStats&) override { limit_.reset(); }
  bool assertionEnded(const Catch::AssertionStats& stats) override {
    const Catch::AssertionResult& result = stats.assertionResult;
    if (result.isOk()) return false;
    const auto where = result.getSourceInfo();
    failed_ += "FAILED: " + test_ + "\n  " + where.file + ":" + std::to_string(where.line) + ": " +
               result.getExpressionInMacro() + "\n";
    if (result.hasExpandedExpression()) failed_ += "  " + result.getExpandedExpression() + "\n";
    if (result.hasMessage()) failed_ += "  " + std::string(result.getMessage()) + "\n";
    for (const Catch::MessageInfo& info : stats.infoMessages) failed_ += "  " + info.message + "\n";
    return false;
  }
  void testRunEnded(const Catch::TestRunStats&) override {
    constexpr std::size_t told_max = 8'000;
    if (failed_.size() > told_max) failed_ = failed_.substr(0, told_max) + "...\n";
    std::cout << failed_ << std::flush;
  }

 private:
  std::string test_;
  std::string failed_;
  std::optional<CaseLimit> limit_;
};
CATCH_REGISTER_LISTENER(FailedAgain)

}  // namespace
