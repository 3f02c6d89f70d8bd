// The main() that every Catch2 test program shares, compiled once. What failed is told once more at
// the end, in short: of a long output the last lines are what people see.
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>
#include <cstdio>
#include <string>

namespace {

class FailedAgain : public Catch::TestEventListenerBase {
 public:
  using TestEventListenerBase::TestEventListenerBase;

  void testCaseStarting(const Catch::TestCaseInfo& info) override { test_ = info.name; }
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
    std::fputs(failed_.c_str(), stdout);
  }

 private:
  std::string test_;
  std::string failed_;
};
CATCH_REGISTER_LISTENER(FailedAgain)

}  // namespace
