/* runtime/vulkan/spirv.c: reads what a shader asks of a device.
 *
 * Vulkan makes no promise about a pipeline that needs more work-group memory than there is, or a capability that is not
 * turned on, and drivers differ in what then happens; and how much memory it is depends on specialisation constants. So the
 * module's types and constants are evaluated here, as far as the sizes of work-group variables need it.
 */
#include "runtime/vulkan/vulkan_internal.h"

#include <stdlib.h>

/* The few of SPIR-V's numbers that matter here (SPIR-V 1.3, chapter 3). */
enum {
    MAGIC = 0x07230203,
    HEADER_WORDS = 5,
    CAPABILITY_MATRIX = 0, CAPABILITY_SHADER = 1, CAPABILITY_INT64 = 11, CAPABILITY_IMAGE_BUFFER = 47, CAPABILITY_GROUP_NON_UNIFORM = 61,
    CAPABILITY_GROUP_NON_UNIFORM_ARITHMETIC = 63, CAPABILITY_GROUP_NON_UNIFORM_SHUFFLE = 65,
    CAPABILITY_STORAGE_BUFFER_16BIT = 4433, CAPABILITY_PHYSICAL_STORAGE_BUFFER_ADDRESSES = 5347,
    DECORATION_SPEC_ID = 1,
    STORAGE_WORKGROUP = 4,
    OP_CAPABILITY = 17, OP_TYPE_BOOL = 20, OP_TYPE_INT = 21, OP_TYPE_FLOAT = 22, OP_TYPE_VECTOR = 23, OP_TYPE_ARRAY = 28,
    OP_TYPE_STRUCT = 30, OP_TYPE_POINTER = 32, OP_CONSTANT_TRUE = 41, OP_CONSTANT_FALSE = 42, OP_CONSTANT = 43,
    OP_CONSTANT_COMPOSITE = 44, OP_SPEC_CONSTANT_TRUE = 48, OP_SPEC_CONSTANT_FALSE = 49, OP_SPEC_CONSTANT = 50,
    OP_SPEC_CONSTANT_COMPOSITE = 51, OP_SPEC_CONSTANT_OP = 52, OP_FUNCTION = 54, OP_VARIABLE = 59, OP_DECORATE = 71,
    OP_COMPOSITE_EXTRACT = 81, OP_SNEGATE = 126, OP_IADD = 128, OP_ISUB = 130, OP_IMUL = 132, OP_UDIV = 134, OP_SDIV = 135,
    OP_UMOD = 137, OP_SREM = 138, OP_LOGICAL_OR = 166, OP_LOGICAL_AND = 167, OP_LOGICAL_NOT = 168, OP_SELECT = 169,
    OP_IEQUAL = 170, OP_INOTEQUAL = 171, OP_UGREATER = 172, OP_SGREATER = 173, OP_UGREATER_EQUAL = 174,
    OP_SGREATER_EQUAL = 175, OP_ULESS = 176, OP_SLESS = 177, OP_ULESS_EQUAL = 178, OP_SLESS_EQUAL = 179,
    OP_SHIFT_RIGHT_LOGICAL = 194, OP_SHIFT_RIGHT_ARITHMETIC = 195, OP_SHIFT_LEFT = 196, OP_BITWISE_OR = 197,
    OP_BITWISE_XOR = 198, OP_BITWISE_AND = 199,
};

/* What is known of an id. A type has a size; a constant of 32 bits a value. */
typedef struct known {
    uint64_t size;         /* bytes, of a type; for a pointer, of what it points to; 0 unknown */
    uint32_t value;
    bool has_value;
    bool specialised;      /* a SpecId decorates it: value is already the caller's */
    const uint32_t *parts; /* ids of a composite's parts, NULL otherwise */
    uint32_t part_count;
} known;

static uint64_t round_up(uint64_t value, uint64_t alignment) { return (value + alignment - 1) / alignment * alignment; }

/* `a op b` as the specification of SPIR-V has it; false for an operation that is not needed here. */
static bool evaluate_binary(uint32_t op, uint32_t a, uint32_t b, uint32_t *value)
{
    int32_t signed_a = (int32_t)a, signed_b = (int32_t)b;
    switch (op) {
    case OP_IADD: *value = a + b; return true;
    case OP_ISUB: *value = a - b; return true;
    case OP_IMUL: *value = a * b; return true;
    case OP_UDIV: if (b == 0) return false; *value = a / b; return true;
    case OP_UMOD: if (b == 0) return false; *value = a % b; return true;
    case OP_SDIV:
        if (b == 0 || signed_b == -1) return false;
        *value = (uint32_t)(signed_a / signed_b);
        return true;
    case OP_SREM:
        if (b == 0 || signed_b == -1) return false;
        *value = (uint32_t)(signed_a % signed_b);
        return true;
    case OP_LOGICAL_OR: *value = a || b; return true;
    case OP_LOGICAL_AND: *value = a && b; return true;
    case OP_IEQUAL: *value = a == b; return true;
    case OP_INOTEQUAL: *value = a != b; return true;
    case OP_UGREATER: *value = a > b; return true;
    case OP_SGREATER: *value = signed_a > signed_b; return true;
    case OP_UGREATER_EQUAL: *value = a >= b; return true;
    case OP_SGREATER_EQUAL: *value = signed_a >= signed_b; return true;
    case OP_ULESS: *value = a < b; return true;
    case OP_SLESS: *value = signed_a < signed_b; return true;
    case OP_ULESS_EQUAL: *value = a <= b; return true;
    case OP_SLESS_EQUAL: *value = signed_a <= signed_b; return true;
    case OP_SHIFT_RIGHT_LOGICAL: if (b > 31) return false; *value = a >> b; return true;
    case OP_SHIFT_RIGHT_ARITHMETIC: if (b > 31) return false; *value = (uint32_t)(signed_a >> b); return true;
    case OP_SHIFT_LEFT: if (b > 31) return false; *value = a << b; return true;
    case OP_BITWISE_OR: *value = a | b; return true;
    case OP_BITWISE_XOR: *value = a ^ b; return true;
    case OP_BITWISE_AND: *value = a & b; return true;
    default: return false;
    }
}

/* An OpSpecConstantOp of `length` words whose ids are all below the bound. */
static void evaluate(known *ids, const uint32_t *word, uint32_t length, uint32_t bound)
{
    known *result = &ids[word[2]];
    uint32_t op = word[3];
    if (op == OP_COMPOSITE_EXTRACT) {
        if (length != 6 || word[4] >= bound) return;
        const known *composite = &ids[word[4]];
        if (composite->parts == NULL || word[5] >= composite->part_count) return;
        uint32_t part = composite->parts[word[5]];
        if (part >= bound) return;
        result->value = ids[part].value;
        result->has_value = ids[part].has_value;
        return;
    }
    for (uint32_t i = 4; i < length; i++)
        if (word[i] >= bound || !ids[word[i]].has_value) return;
    uint32_t a = length > 4 ? ids[word[4]].value : 0, b = length > 5 ? ids[word[5]].value : 0;
    if (op == OP_SELECT && length == 7) {
        result->value = a != 0 ? b : ids[word[6]].value;
        result->has_value = true;
    } else if (length == 5 && (op == OP_SNEGATE || op == OP_LOGICAL_NOT)) {
        result->value = op == OP_SNEGATE ? 0u - a : !a;
        result->has_value = true;
    } else if (length == 6) {
        result->has_value = evaluate_binary(op, a, b, &result->value);
    }
}

static void need_capability(uint32_t capability, lm_spirv_needs *needs)
{
    switch (capability) {
    case CAPABILITY_MATRIX:
    case CAPABILITY_SHADER: break;
    case CAPABILITY_IMAGE_BUFFER: needs->capabilities |= LM_CAP_TEXELS; break;
    case CAPABILITY_GROUP_NON_UNIFORM:
    case CAPABILITY_GROUP_NON_UNIFORM_ARITHMETIC:
    case CAPABILITY_GROUP_NON_UNIFORM_SHUFFLE: needs->capabilities |= LM_CAP_SUBGROUP; break;
    case CAPABILITY_STORAGE_BUFFER_16BIT: needs->capabilities |= LM_CAP_FLOAT16_STORAGE; break;
    case CAPABILITY_INT64:
    case CAPABILITY_PHYSICAL_STORAGE_BUFFER_ADDRESSES: needs->capabilities |= LM_CAP_ADDRESSES; break;
    default: needs->unknown = capability;
    }
}

/* One instruction before the first function. False when its size cannot be known and is needed. */
static bool inspect_instruction(known *ids, uint32_t bound, const uint32_t *word, uint32_t length,
                                const int32_t spec[LM_MAX_SPEC], lm_spirv_needs *needs)
{
    uint32_t op = word[0] & 0xffff;
    switch (op) {
    case OP_CAPABILITY:
        if (length == 2) need_capability(word[1], needs);
        return length == 2;
    case OP_DECORATE:
        if (length == 4 && word[2] == DECORATION_SPEC_ID && word[1] < bound && word[3] < LM_MAX_SPEC) {
            ids[word[1]].value = (uint32_t)spec[word[3]];
            ids[word[1]].has_value = ids[word[1]].specialised = true;
        }
        return true;
    /* Types: the result's id is word 1. */
    case OP_TYPE_BOOL:
    case OP_TYPE_INT:
    case OP_TYPE_FLOAT:
        if (length < 2 || word[1] >= bound) return false;
        ids[word[1]].size = op == OP_TYPE_BOOL ? 4 : length > 2 ? word[2] / 8 : 0;
        return true;
    case OP_TYPE_VECTOR:
        if (length != 4 || word[1] >= bound || word[2] >= bound) return false;
        /* Drivers give three components the room of four. */
        ids[word[1]].size = ids[word[2]].size * (word[3] == 3 ? 4 : word[3]);
        return true;
    case OP_TYPE_ARRAY:
        if (length != 4 || word[1] >= bound || word[2] >= bound || word[3] >= bound) return false;
        if (ids[word[3]].has_value && ids[word[2]].size <= UINT32_MAX)
            ids[word[1]].size = ids[word[2]].size * ids[word[3]].value;
        return true;
    case OP_TYPE_STRUCT:
        if (length < 2 || word[1] >= bound) return false;
        for (uint32_t i = 2; i < length; i++) {
            if (word[i] >= bound) return false;
            ids[word[1]].size += round_up(ids[word[i]].size, 4);
        }
        return true;
    case OP_TYPE_POINTER:
        if (length != 4 || word[1] >= bound || word[3] >= bound) return false;
        ids[word[1]].size = ids[word[3]].size;
        return true;
    /* Constants: the type is word 1, the result's id word 2. */
    case OP_CONSTANT_TRUE:
    case OP_CONSTANT_FALSE:
    case OP_SPEC_CONSTANT_TRUE:
    case OP_SPEC_CONSTANT_FALSE:
    case OP_CONSTANT:
    case OP_SPEC_CONSTANT:
        if (length < 3 || word[2] >= bound) return false;
        if (ids[word[2]].specialised || length > 4) return true;
        ids[word[2]].value = length == 4 ? word[3] : op == OP_CONSTANT_TRUE || op == OP_SPEC_CONSTANT_TRUE;
        ids[word[2]].has_value = true;
        return true;
    case OP_CONSTANT_COMPOSITE:
    case OP_SPEC_CONSTANT_COMPOSITE:
        if (length < 3 || word[2] >= bound) return false;
        ids[word[2]].parts = word + 3;
        ids[word[2]].part_count = length - 3;
        return true;
    case OP_SPEC_CONSTANT_OP:
        if (length < 4 || word[2] >= bound) return false;
        evaluate(ids, word, length, bound);
        return true;
    case OP_VARIABLE:
        if (length < 4 || word[1] >= bound) return false;
        if (word[3] != STORAGE_WORKGROUP) return true;
        needs->shared_bytes += round_up(ids[word[1]].size, 16);
        return ids[word[1]].size > 0;
    default: return true;
    }
}

bool lm_spirv_inspect(const uint32_t *words, size_t size, const int32_t spec[LM_MAX_SPEC], lm_spirv_needs *needs)
{
    *needs = (lm_spirv_needs){0};
    size_t count = size / sizeof *words;
    if (words == NULL || count < HEADER_WORDS || words[0] != MAGIC || words[3] > size) return false;
    uint32_t bound = words[3];
    known *ids = calloc(bound, sizeof *ids);
    if (ids == NULL) return false;
    bool good = true;
    for (size_t i = HEADER_WORDS; good && i < count;) {
        uint32_t length = words[i] >> 16;
        if (length == 0 || length > count - i) good = false;
        else if ((words[i] & 0xffff) == OP_FUNCTION) break; /* sizes are settled before the first function */
        else good = inspect_instruction(ids, bound, words + i, length, spec, needs);
        i += length;
    }
    free(ids);
    return good;
}
