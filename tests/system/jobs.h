#pragma once
// What system tests do with jobs through the SDK: submit a picture of so many steps, wait for a
// state, wait for the end. Every wait is bounded.

#include <catch2/catch.hpp>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "actors/request_id.h"
#include "base/clock.h"
#include "net/client.h"
#include "tests/system/pool_process.h"

namespace gpupool::test {

// A client that sits out kills and restarts.
inline Result<std::unique_ptr<Client>> patient_client(const PoolProcess& pool,
                                                      const std::string& user, std::uint64_t seed) {
  return Client::connect({.endpoint = pool.endpoint(),
                          .token = pool.token(user),
                          .seed = seed,
                          .connect_timeout = seconds(60),
                          .answer_timeout = seconds(60),
                          .reconnect_for = seconds(120)});
}

// Worker settings: one slot, so that a second job waits.
inline constexpr const char* one_slot =
    "[[worker.devices]]\nkind = \"cpu\"\nthreads = 1\nslots = 1\n";
inline constexpr Duration job_patience = seconds(60);

inline JobRequest picture(int steps, Duration declared = seconds(60)) {
  return {
      .app = "emoji",
      .declared = declared,
      .detached = true,
      .arguments = {{"prompt", "a red heart"}, {"steps", std::to_string(steps)}, {"seed", "7"}}};
}

inline RequestId new_request() {
  static std::uint64_t drawn = static_cast<std::uint64_t>(boot_time().ms) << 20U;
  drawn += 2;
  return make_request_id(wall_time(), {.first = drawn, .second = drawn + 1});
}

inline void submit_xlarge(Client& client, int steps) {
  JobRequest request = picture(steps);
  request.size = "xlarge";
  (void)client.submit(new_request(), request);
}

inline std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

// The same small picture in either size, by the gpupool program; what that says.
inline nlohmann::json draw(const PoolProcess& pool, const std::string& size,
                           const std::filesystem::path& file) {
  const Output output =
      pool.gpupool("ada", {"generate", "a red heart", "-o", file.string(), "--seed", "7", "--steps",
                           "12", "--size", size, "--json"});
  INFO(output.out << output.error);
  REQUIRE(output.exit_code == 0);
  return nlohmann::json::parse(output.out);
}

inline RequestId submit_picture(Client& client, int steps) {
  const RequestId request = new_request();
  (void)client.submit(request, picture(steps));
  return request;
}

// The first event for which `found` gives something.
template <class Found>
auto next_that(Client& client, Found found) -> decltype(found(std::declval<ClientEvent>())) {
  const Instant give_up = boot_time() + job_patience;
  while (boot_time() < give_up) {
    const auto event = client.next_event(milliseconds(500));
    if (!event) {
      if (event.error().code == Errc::timed_out) continue;
      return {};
    }
    if (auto result = found(*event)) return result;
  }
  return {};
}

inline std::optional<JobEvent> wait_for_state(Client& client, JobState state) {
  return next_that(client, [&](const ClientEvent& event) -> std::optional<JobEvent> {
    const auto* moved = std::get_if<JobEvent>(&event);
    return moved && moved->state == state ? std::optional(*moved) : std::nullopt;
  });
}

inline std::optional<JobDone> wait_for_end(Client& client) {
  return next_that(client, [](const ClientEvent& event) -> std::optional<JobDone> {
    const auto* done = std::get_if<JobDone>(&event);
    return done ? std::optional(*done) : std::nullopt;
  });
}

inline std::optional<Refusal> wait_for_refusal(Client& client) {
  return next_that(client, [](const ClientEvent& event) -> std::optional<Refusal> {
    const auto* refused = std::get_if<SessionRefused>(&event);
    return refused ? std::optional(refused->refusal) : std::nullopt;
  });
}

// Whether the pool ran the job again. More than one lease more may stand in its receipt: one that
// is refused, as its slot or a heartbeat is late on a busy machine, counts as well and costs
// nothing.
inline bool ran_again(const Receipt& receipt) { return receipt.attempts >= 2; }

// Until the ledger knows of this job's lease, which nothing waits for: what it says is durable.
inline bool wait_for_lease_on_record(Client& client, JobId job) {
  const Instant give_up = boot_time() + job_patience;
  while (boot_time() < give_up) {
    const auto explained = client.explain(job);
    if (explained && explained->story.size() >= 2) return true;
  }
  return false;
}

}  // namespace gpupool::test
