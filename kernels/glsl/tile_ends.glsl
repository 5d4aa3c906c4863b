/* kernels/glsl/tile_ends.glsl: what scan_ends and scan_ends_long have in common: constants, bindings and the head of shared memory.
 * After params.h and buffers.glsl. */
layout(local_size_x_id = 0, local_size_y_id = 1) in;
layout(constant_id = 2) const int LANES = 1;
layout(constant_id = 3) const int GROUP = 4; /* fours of states */
layout(constant_id = 4) const int FLAGS = 0;

LM_PARAMETERS(LM_SCAN_FIELDS, 7)
LM_BUFFER(0, restrict readonly, float, u)
LM_BUFFER(1, restrict readonly, float, delta)
LM_BUFFER(2, restrict readonly, float, a)
LM_BUFFER(3, readonly, float, bc)
LM_BUFFER(3, readonly, vec2, bc2)
LM_BUFFER(4, restrict readonly, int, rows)
LM_BUFFER(5, restrict readonly, float, state)
LM_BUFFER(6, restrict writeonly, float, ends)

#include "kernels/glsl/common.glsl"
#include "kernels/glsl/tile_decay.glsl"

/* σ·|A| / ln 2 from which on decays count as 0. */
const float FORGOTTEN = 127.0;

shared uint odd[2]; /* is something of the tile not finite? Of two tiles in turn */
shared int head[LM_ROW_HEADS]; /* what of the row table comes before that */

int lane = int(gl_LocalInvocationID.x);
