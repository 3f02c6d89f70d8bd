#include "tests/sim/run.h"

#include "tests/sim/world.h"

namespace gpupool::sim {

std::string failure_of(std::uint64_t seed, std::ostream* trace, Coverage& coverage) {
  World world(seed, trace);
  try {
    world.run();
  } catch (const Broken& broken) {
    return broken.what + " at " + std::to_string(world.now().ms);
  }
  coverage.add(world.coverage());
  coverage.events["jobs"] += world.checks().job_count();
  coverage.events["large requests"] += world.checks().large_requests();
  coverage.events["runs on several slots"] += world.checks().gang_runs();
  coverage.events["runs on several nodes"] += world.checks().runs_across_nodes();
  coverage.events["runs of several ranks"] += world.checks().runs_of_ranks();
  coverage.events["ranks beside another node's"] += world.checks().runs_of_ranks_elsewhere();
  coverage.events["runs of callers' own processes"] += world.checks().grants_made();
  coverage.events["warm processes used again"] += world.checks().warm_grants();
  coverage.events["holds on a group's credits"] += world.checks().shared_credits();
  coverage.events["restated promises"] += world.checks().restated_count();
  return {};
}

}  // namespace gpupool::sim
