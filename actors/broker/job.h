#pragma once
// One admitted job as the broker follows it, from its hold to its receipt. Owned by the broker.

#include <boost/container/small_vector.hpp>
#include <memory>
#include <string>

#include "actors/broker/placement.h"
#include "actors/messages.h"

namespace gpupool {

// Where the broker stands with a job. Each of the last two waits for the ledger's answer.
enum class Phase : std::uint8_t { queued, leased, running, requeueing, settling };

// What a job's owner, and an operator, are told of its phase.
constexpr JobState state_of(Phase phase) {
  switch (phase) {
    case Phase::queued:
    case Phase::requeueing:
      return JobState::queued;
    case Phase::leased:
      return JobState::starting;
    case Phase::running:
      return JobState::running;
    case Phase::settling:
      return JobState::ended;
  }
  return JobState::ended;
}

// Thousands wait for each one that runs, so what is only needed on a slot or after it is kept
// apart.
struct Job {
  Shared<Hold> hold;
  Phase phase = Phase::queued;
  bool cancelling = false;
  bool presumed_leased = false;  // after a restart: the journal says leased, no worker has yet
  PartitionId partition;         // in whose queue it waits, or waited
  Instant promise{};
  std::uint32_t attempt = 0;       // of the present or last lease, as its worker calls it
  std::uint32_t leases = 0;        // made so far: each has its own number, the next is one higher
  NodeId lease_node;               // that the latest of them was made to; 0: not known
  std::uint32_t losses = 0;        // attempts that the pool lost
  std::uint32_t over_attempt = 0;  // the highest that ended or was called off: never taken up again
  std::uint32_t told_position = 0;  // in the queue: the last one told to those who follow it
  Instant foreseen_at{};            // when its start was foreseen first; 0: it was not
  Duration foreseen{};              // then, until its start at the latest
  boost::container::small_vector<SessionId, 1> watchers;  // whose clients follow it
  Place place;                                            // leased, running: where, all its slots
  std::string node_name;                                  // of the one that runs it, or ran it last
  Instant leased_at{};
  Instant began{};
  std::uint32_t step = 0;
  std::uint32_t of_steps = 0;
  Shared<Grant> grant;               // of an external app, by its present attempt
  std::string cancelled_by;          // "operator user:root"; empty: nobody, or its own client
  std::string notice;                // why it waits again
  std::unique_ptr<RunEnded> ended;   // settling after this run: acknowledged with the receipt
  std::unique_ptr<Settle> settle;    // sent again until the ledger answers
  std::unique_ptr<Requeue> requeue;  // likewise
  Instant requeue_asked{};           // first

  bool has_slot() const { return phase == Phase::leased || phase == Phase::running; }
};

}  // namespace gpupool
