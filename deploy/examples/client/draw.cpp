// draw ENDPOINT PROMPT FILE: has a pool draw a picture, and says what that cost. The token, if any,
// stands in GPUPOOL_TOKEN.
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <random>

#include "actors/describe.h"
#include "actors/request_id.h"
#include "base/clock.h"
#include "net/client.h"

using namespace gpupool;

namespace {

int fail(const Error& error) {
  std::cerr << "draw: " << describe(error) << "\n";
  return 1;
}

// Follows the job to its end, whatever happens to the connection meanwhile.
Result<JobDone> wait_for_end(Client& client) {
  for (;;) {
    auto event = client.next_event(seconds(1));
    if (!event && event.error().code == Errc::timed_out) continue;  // nothing new
    if (!event) return event.error();
    if (const auto* done = std::get_if<JobDone>(&*event)) return *done;
    if (const auto* refused = std::get_if<SessionRefused>(&*event)) {
      std::cerr << "refused: " << refused->refusal.detail << "\n";
      return Error{.code = refused->refusal.code};
    }
    if (const auto* failed = std::get_if<FollowFailed>(&*event)) return failed->error;
  }
}

}  // namespace

int main(int count, char** words) {
  if (count != 4) {
    std::cerr << "usage: draw ENDPOINT PROMPT FILE\n";
    return 2;
  }
  const char* token = std::getenv("GPUPOOL_TOKEN");
  std::random_device random;
  const auto draw = [&random] { return (std::uint64_t{random()} << 32U) | random(); };
  auto client = Client::connect({.endpoint = words[1],
                                 .token = token == nullptr ? "" : token,
                                 .program = "draw",
                                 .seed = draw()});
  if (!client) return fail(client.error());

  JobRequest request;
  request.app = "emoji";
  request.arguments = {{"prompt", words[2]}};
  // The id is the caller's: sent again, it is answered again and drawn once.
  const RequestId id = make_request_id(wall_time(), {draw(), draw()});
  if (const Status sent = (*client)->submit(id, request); !sent) return fail(sent.error());
  const auto done = wait_for_end(**client);
  if (!done) return fail(done.error());
  const Receipt& receipt = done->receipt;
  std::cout << "job " << receipt.job.value << ": charged " << seconds_text(receipt.charged) << "\n";
  if (receipt.outcome != Outcome::succeeded) return fail({.code = receipt.cause});

  const auto picture = (*client)->fetch(receipt);
  if (!picture) return fail(picture.error());
  std::ofstream(words[3], std::ios::binary) << *picture;
  return 0;
}
