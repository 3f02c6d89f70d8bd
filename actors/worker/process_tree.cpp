#include "actors/worker/process_tree.h"

#include <algorithm>

#include "actors/worker/process_cgroup.h"

namespace gpupool {

// The descendants first, while they still can be found by it.
void ProcessTree::kill() {
  const auto meet = [this](pid_t parent) {
    for (const ProcessName& later : descendants_of(parent))
      if (std::find(children.begin(), children.end(), later) == children.end())
        children.push_back(later);
  };
  if (is_alive(root)) meet(root.pid);
  kill_exactly(root);
  for (std::size_t i = 0; i < children.size(); ++i) {
    if (!is_alive(children[i])) continue;
    meet(children[i].pid);
    kill_exactly(children[i]);
  }
  if (!group.empty() && clear_cgroup(group)) group.clear();
}

bool ProcessTree::is_gone() const {
  return group.empty() && !is_alive(root) &&
         std::none_of(children.begin(), children.end(), is_alive);
}

}  // namespace gpupool
