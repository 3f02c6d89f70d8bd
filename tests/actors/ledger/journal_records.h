#pragma once
// What tests of journals write and read: records of every kind, and a journal's records in order.

#include "actors/ledger/journal.h"
#include "base/pack.h"
#include "tests/actors/ledger/ledger_bench.h"

namespace gpupool::bench {

// Records of every kind, `count` of them, from `first` on.
inline std::vector<Record> records_from(std::uint64_t first, std::size_t count) {
  std::vector<Record> records;
  for (std::uint64_t sequence = first; sequence < first + count; ++sequence) {
    const JobId job{sequence};
    RecordBody body = EpochRaised{.epoch = {sequence}};
    switch (sequence % 6) {
      case 1:
        body = HoldOpened{
            .hold = Hold{.job = job,
                         .request = id_at(noon, sequence),
                         .account = {"user:number-" + std::to_string(sequence)},
                         .body = JobRequest{.app = "emoji", .arguments = {{"prompt", "a heart"}}},
                         .quota_part = {60'000}}};
        break;
      case 2:
        body = LeaseNoted{.job = job, .attempt = 1, .node = {7}, .node_name = "node-1"};
        break;
      case 3:
        body = JobRequeued{.job = job, .attempt = 1, .cause = Errc::node_lost};
        break;
      case 4:
        body = PromiseRestated{.job = job, .promise = noon, .reason = "restart"};
        break;
      case 5:
        body = HoldSettled{.job = job, .outcome = Outcome::succeeded, .ran = seconds(3)};
        break;
      default:
        break;
    }
    records.push_back({.sequence = sequence,
                       .at = noon + milliseconds(static_cast<std::int64_t>(sequence)),
                       .body = std::move(body)});
  }
  return records;
}

inline const ClockStamp stamp{.wall = noon, .boot = {5'000}, .boot_id = "boot-1"};

inline std::string bytes_of(const std::vector<Record>& records) { return pack(records); }

inline std::vector<Record> replayed(Journal& journal) {
  std::vector<Record> records;
  const auto done = journal.replay([&records](const Record& record) {
    records.push_back(record);
    return ok();
  });
  INFO((done ? std::string() : done.error().detail));
  REQUIRE(done);
  return records;
}

}  // namespace gpupool::bench
