/* kernels/glsl/buffers.glsl: parameters and buffers of a kernel, in two forms from one text.
 *
 * Usually buffers are behind descriptors. With LM_ADDRESSES, which the build defines for a second form of the kernels of
 * LITEMAMBA_ADDRESSED (cmake/Kernels.cmake), their addresses follow the parameters among the push constants, eight bytes each in
 * the order of bindings: devices with LM_CAP_ADDRESSES and room for them take that one. An NVIDIA driver checks the bounds of
 * every access through a descriptor, and fetches descriptors before a dispatch can begin; an address has neither. So nothing
 * clamps an index there: kernels only ever touch what their views hold, in both forms, which the tests look for with Oclgrind on
 * their OpenCL twins, with the validation layer, and with guards around every buffer.
 *
 *     LM_PARAMETERS(fields, buffers)              p.field; `buffers` bindings
 *     LM_BUFFER(binding, qualifiers, type, name)  after it; type: float, int, vec2 or vec4
 *     LM_AT(name, index)                          element `index`, to read or write
 *     LM_AT_BYTE(name, byte)                      the element that begins `byte` bytes (uint) after the first: in a loop, an addition
 *                                                 each is all that an address takes
 *
 * An index is below 2^30 (params.h), so offsets in bytes are 32 bits beside one address for all lanes. */
#define LM_SIZE_float 4
#define LM_SIZE_int 4
#define LM_SIZE_vec2 8
#define LM_SIZE_vec4 16

#ifdef LM_ADDRESSES
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#define LM_PARAMETERS(fields, buffers) layout(push_constant) uniform Parameters { fields uint64_t addresses[buffers]; } p;
#define LM_BUFFER(binding_, qualifiers, type, name) \
    layout(buffer_reference, std430, buffer_reference_align = LM_SIZE_##type) qualifiers buffer name##_buffer { type element; }; \
    const int name##_binding = binding_; \
    const uint name##_size = LM_SIZE_##type;
#define LM_AT_BYTE(name, byte) name##_buffer(p.addresses[name##_binding] + uint64_t(byte)).element
#define LM_AT(name, index) LM_AT_BYTE(name, uint(index) * name##_size)
#else
#define LM_PARAMETERS(fields, buffers) layout(push_constant) uniform Parameters { fields } p;
#define LM_BUFFER(binding_, qualifiers, type, name) \
    layout(set = 0, binding = binding_, std430) qualifiers buffer name##_buffer { type name##_elements[]; }; \
    const uint name##_size = LM_SIZE_##type;
#define LM_AT(name, index) name##_elements[index]
#define LM_AT_BYTE(name, byte) name##_elements[(byte) / name##_size]
#endif
