// The checker of the cluster's tests is shown a history that holds, and then every way in which one
// may not: a checker that finds nothing would pass anything.
#include "tests/cluster/checker.h"

#include <catch2/catch.hpp>

#include "actors/request_id.h"

namespace gpupool::test {
namespace {

const AccountId ada{"user:ada"};

RequestId request(std::uint64_t number) {
  return make_request_id(Instant{1'000'000}, {.first = number, .second = number});
}

// A job of one request that ran for a second on a slot, from `began` on.
struct Story {
  Receipt receipt;
  Hold hold;
  HoldSettled settled;
  SeenRun run;
};

Story story(std::uint64_t job, Instant began) {
  Story one;
  one.run = {.node = "node-1",
             .device = 1,
             .job = {job},
             .attempt = 1,
             .began = began,
             .ended = began + seconds(1),
             .ending = "result"};
  one.receipt = {.job = {job},
                 .request = request(job),
                 .account = ada,
                 .declared = seconds(5),
                 .ran = milliseconds(1'003),
                 .held = {5'000},
                 .charged = {1'003},
                 .given_back = {3'997},
                 .outcome = Outcome::succeeded};
  one.hold = {.job = {job}, .request = request(job), .account = ada};
  one.settled = {.job = {job},
                 .outcome = Outcome::succeeded,
                 .ran = milliseconds(1'003),
                 .charged_quota = {1'003},
                 .attempt = 1,
                 .node = "node-1"};
  return one;
}

void add(Evidence& evidence, const Story& one) {
  evidence.asked.push_back({.account = ada,
                            .request = one.receipt.request,
                            .jobs = {one.receipt.job},
                            .receipts = {one.receipt}});
  evidence.receipts[ada].push_back(one.receipt);
  evidence.runs.push_back(one.run);
  evidence.holds.push_back(one.hold);
  evidence.settles.push_back(one.settled);
}

// Two jobs, one after the other on one slot.
Evidence good() {
  Evidence evidence;
  add(evidence, story(7, Instant{10'000}));
  add(evidence, story(8, Instant{11'000}));
  return evidence;
}

// The one difference that is found, or all of them in one text.
std::string found(const Evidence& evidence) {
  std::string all;
  for (const std::string& one : judge(evidence, {}).differences)
    all += (all.empty() ? "" : "; ") + one;
  return all;
}

bool has(const std::string& text, const std::string& words) {
  INFO(text);
  return text.find(words) != std::string::npos;
}

}  // namespace

TEST_CASE("A history in which everything holds gives no difference, and its numbers") {
  const Verdict verdict = judge(good(), {});
  CHECK(verdict.differences.empty());
  CHECK(verdict.acknowledged == 2);
  CHECK(verdict.delivered == 2);
  CHECK(verdict.lost_runs == 0);
  CHECK(verdict.widest == milliseconds(3));
}

TEST_CASE("What was charged and had ranks on several nodes is counted") {
  Evidence evidence = good();
  SeenRun helper = evidence.runs[0];
  helper.rank = 1;
  helper.device = 2;
  evidence.runs.push_back(helper);
  CHECK(judge(evidence, {}).across == 0);
  evidence.runs.back().node = "node-2";
  CHECK(found(evidence).empty());
  CHECK(judge(evidence, {}).across == 1);
}

TEST_CASE("An acknowledged job without a receipt, or with two, is a difference") {
  Evidence none = good();
  none.receipts[ada].pop_back();
  CHECK(has(found(none), "was acknowledged and has 0 receipts"));
  Evidence two = good();
  two.receipts[ada].push_back(two.receipts[ada].back());
  CHECK(has(found(two), "was acknowledged and has 2 receipts"));
}

TEST_CASE("A request without an end is a difference, whether acknowledged or not") {
  Evidence silent = good();
  silent.asked.push_back({.account = ada, .request = request(9)});
  CHECK(has(found(silent), "has no end"));
  Evidence acknowledged = good();
  acknowledged.asked[0].receipts.clear();
  CHECK(has(found(acknowledged), "has no end"));
}

TEST_CASE("A request that became two jobs is a difference") {
  Evidence evidence = good();
  evidence.asked[0].jobs.push_back({70});
  CHECK(has(found(evidence), "became 2 jobs"));
  Evidence again = good();
  again.holds.push_back(again.holds[0]);
  again.holds.back().job = {70};
  CHECK(has(found(again), "job 70 is of a request that was held before"));
}

TEST_CASE("A refused request is well, unless it was held all the same") {
  Evidence refused = good();
  refused.asked.push_back({.account = ada, .request = request(9), .refused = Errc::overloaded});
  CHECK(found(refused).empty());
  CHECK(judge(refused, {}).refused == 1);
  Hold hold{.job = {9}, .request = request(9), .account = ada};
  refused.holds.push_back(hold);
  CHECK(has(found(refused), "was refused, and held as job 9"));
  Evidence both = good();
  both.asked[0].refused = Errc::overloaded;
  CHECK(has(found(both), "was refused, and has a receipt"));
}

TEST_CASE("A hold that nobody asked for, or that is not closed exactly once, is a difference") {
  Evidence nobody = good();
  nobody.holds.push_back({.job = {9}, .request = request(9), .account = ada});
  CHECK(has(found(nobody), "job 9 was asked for by nobody"));
  CHECK(has(found(nobody), "job 9 was settled 0 times"));
  Evidence twice = good();
  twice.settles.push_back(twice.settles[0]);
  CHECK(has(found(twice), "job 7 was settled 2 times"));
}

TEST_CASE("A receipt that nobody asked for, or that is on no record, is a difference") {
  Evidence stray = good();
  stray.receipts[ada].push_back(story(9, Instant{20'000}).receipt);
  CHECK(has(found(stray), "the receipt of job 9 is of no request"));
  CHECK(has(found(stray), "the receipt of job 9 is on no record"));
}

TEST_CASE("A client that was told another receipt than the one that is kept is a difference") {
  Evidence evidence = good();
  evidence.asked[1].receipts[0].charged = {1'004};
  CHECK(has(found(evidence), "was told another receipt"));
}

TEST_CASE("Two jobs on one slot at once are a difference, on two slots they are not") {
  Evidence evidence = good();
  evidence.runs[1].began = Instant{10'999};
  CHECK(has(found(evidence), "slot 1 of node-1 had job 8"));
  evidence.runs[1].device = 2;
  CHECK(found(evidence).empty());
  evidence.runs[1].device = 1;
  evidence.runs[1].node = "node-2";
  evidence.settles[1].node = "node-2";
  CHECK(found(evidence).empty());
}

TEST_CASE("A run on the slot of one that was killed has to have it alone") {
  Evidence evidence = good();
  SeenRun killed = evidence.runs[0];
  killed.job = {7};
  killed.attempt = 2;
  killed.began = Instant{9'500};
  killed.ended = {};
  killed.ending = "";
  evidence.runs.push_back(killed);
  CHECK(found(evidence).empty());
  CHECK(judge(evidence, {}).lost_runs == 1);
  evidence.runs[0].alone = false;
  CHECK(has(found(evidence), "slot 1 of node-1 had job 7"));
}

TEST_CASE("A charge that is not the time of the run is a difference") {
  Evidence more = good();
  more.receipts[ada][0].charged = {1'004};
  more.receipts[ada][0].given_back = {3'996};
  more.asked[0].receipts[0].charged = {1'004};
  more.settles[0].charged_quota = {1'004};
  CHECK(has(found(more), "job 7 ran 1003 ms x 1 and was charged 1004 ms"));
  Evidence lost = good();
  lost.receipts[ada][0].given_back = {3'000};
  CHECK(has(found(lost), "charged and given back are not what was held"));
  Evidence other = good();
  other.settles[0].charged_quota = {2'000};
  CHECK(has(found(other), "is not what is on record"));
}

TEST_CASE("The worker's measure may differ from the executor's by the bound, and by pauses") {
  Evidence evidence = good();
  evidence.runs[0].ended = evidence.runs[0].began + milliseconds(952);
  CHECK(has(found(evidence), "was charged for 1003 ms, its executor measured 952 ms"));
  evidence.pauses.push_back({"node-2", Instant{10'000}, Instant{10'400}});
  CHECK_FALSE(found(evidence).empty());
  evidence.pauses.push_back({"node-1", Instant{10'000}, Instant{10'400}});
  CHECK(found(evidence).empty());
  evidence.runs[0].ended = evidence.runs[0].began + milliseconds(953);
  evidence.pauses.clear();
  CHECK(found(evidence).empty());
}

TEST_CASE("On a machine that holds threads up the measures may differ by three times that more") {
  Evidence evidence = good();
  const Bounds slow{.held_up = milliseconds(10)};
  evidence.runs[0].ended = evidence.runs[0].began + milliseconds(923);
  CHECK(judge(evidence, slow).differences.empty());
  evidence.runs[0].ended = evidence.runs[0].began + milliseconds(922);
  CHECK(judge(evidence, slow).differences.size() == 1);
}

TEST_CASE("What runs on after its declared end costs no more, however late it is stopped") {
  Evidence evidence = good();
  evidence.runs[1].ended = evidence.runs[1].began + seconds(7);
  evidence.runs[1].ending = "stopped";
  evidence.receipts[ada][1].outcome = Outcome::expired;
  evidence.receipts[ada][1].ran = seconds(5);
  evidence.receipts[ada][1].charged = {5'000};
  evidence.receipts[ada][1].given_back = {};
  evidence.asked[1].receipts[0] = evidence.receipts[ada][1];
  evidence.settles[1].outcome = Outcome::expired;
  evidence.settles[1].ran = seconds(5);
  evidence.settles[1].charged_quota = {5'000};
  CHECK(found(evidence).empty());
}

TEST_CASE("A charge for a run that no executor made, or that was lost, is a difference") {
  Evidence none = good();
  none.settles[1].attempt = 2;
  CHECK(has(found(none), "job 8 was charged for attempt 2, which no executor ran"));
  Evidence elsewhere = good();
  elsewhere.settles[1].node = "node-2";
  CHECK(has(found(elsewhere), "its receipt says node-2"));
  Evidence killed = good();
  killed.runs[1].ended = {};
  killed.runs[1].ending = "";
  CHECK(has(found(killed), "job 8 succeeded, but its executor says \"\""));
  Evidence doubled = good();
  doubled.runs.push_back(doubled.runs[1]);
  doubled.runs.back().device = 2;
  CHECK(has(found(doubled), "attempt 1 of job 8 ran 2 times"));
  doubled.runs.back().node = "node-2";
  CHECK(found(doubled).empty());
}

TEST_CASE("A job that failed by the pool's fault and was charged is a difference") {
  Evidence evidence = good();
  evidence.receipts[ada][0].outcome = Outcome::failed;
  evidence.receipts[ada][0].cause = Errc::node_lost;
  evidence.settles[0].outcome = Outcome::failed;
  evidence.asked[0].receipts[0] = evidence.receipts[ada][0];
  CHECK(has(found(evidence), "job 7 ran 1003 ms x 1 and was charged 1003 ms"));
  evidence.receipts[ada][0].cause = Errc::program_failed;
  CHECK(found(evidence).empty());
}

TEST_CASE("What the audit found is a difference") {
  Evidence evidence = good();
  evidence.audit = "hold 7 is open twice";
  CHECK(found(evidence) == "the audit found: hold 7 is open twice");
}

TEST_CASE("Lines of executors become runs, and what is no such line is a difference") {
  std::vector<std::string> differences;
  const auto runs = read_runs("node-1",
                              "began 7 1 0 2 1000 alone\n"
                              "began 8 1 0 1 1100 beside\n"
                              "ended 7 1 0 2 1500 result\n",
                              differences);
  CHECK(differences.empty());
  REQUIRE(runs.size() == 2);
  CHECK(runs[0].job == JobId{7});
  CHECK(runs[0].device == 2);
  CHECK(runs[0].ended == Instant{1'500});
  CHECK(runs[0].ending == "result");
  CHECK(runs[0].alone);
  CHECK_FALSE(runs[1].alone);
  CHECK_FALSE(runs[1].ended);
  CHECK(read_runs("node-1", "ended 7 1 0 2 1500 result\nnonsense\n", differences).empty());
  CHECK(differences.size() == 2);
}

}  // namespace gpupool::test
