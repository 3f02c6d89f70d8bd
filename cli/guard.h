#pragma once
// `gpupool-supervisor guard`: the end of callers' own processes where their worker can't bring it
// about. It shares nothing with the worker but a socket (descriptor 3; packets of
// actors/worker/process_guard.h): a process is killed at its deadline though the worker stands
// still, and all are killed once the worker has died. Then it leaves.

namespace gpupool {

// Until the worker is gone and nothing is left; the exit code.
int guard();

}  // namespace gpupool
