/** JavaScript arrays to tensors and back. */
import { create } from "@bufbuild/protobuf";
import { DataType, TensorSchema, type Tensor } from "./gen/mlops/common/v1/tensor_pb.js";

/** Elements of a tensor as JavaScript has them. */
export type Elements =
  | Float32Array
  | Float64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | BigInt64Array
  | Uint8Array
  | Uint16Array
  | Uint32Array
  | BigUint64Array
  | readonly string[];

/** A tensor with its elements in row-major order. */
export interface Values {
  readonly shape: readonly number[];
  readonly data: Elements;
}

type NumericConstructor = {
  readonly BYTES_PER_ELEMENT: number;
  new (buffer: ArrayBuffer): Exclude<Elements, readonly string[]>;
};

const NUMERIC: ReadonlyMap<DataType, NumericConstructor> = new Map<DataType, NumericConstructor>([
  [DataType.BOOL, Uint8Array],
  [DataType.UINT8, Uint8Array],
  [DataType.UINT16, Uint16Array],
  [DataType.UINT32, Uint32Array],
  [DataType.UINT64, BigUint64Array],
  [DataType.INT8, Int8Array],
  [DataType.INT16, Int16Array],
  [DataType.INT32, Int32Array],
  [DataType.INT64, BigInt64Array],
  [DataType.FP32, Float32Array],
  [DataType.FP64, Float64Array],
]);

/** Makes a tensor. Numbers in plain arrays are FP32, the type of most models; a typed array keeps its own. */
export function toTensor(name: string, values: Values | readonly (readonly number[])[]): Tensor {
  const { shape, data } = isRows(values) ? fromRows(name, values) : values;
  const count = shape.reduce((product, extent) => product * extent, 1);
  if (data.length !== count) {
    throw new RangeError(`input ${name}: shape [${shape.join(", ")}] has ${count} elements, and ${data.length} were given`);
  }
  const [datatype, raw] = isTexts(data) ? [DataType.BYTES, encodeTexts(data)] : [datatypeOf(data), littleEndian(data)];
  return create(TensorSchema, { name, datatype, shape: shape.map(BigInt), raw });
}

/** Reads a tensor. */
export function fromTensor(tensor: Tensor): Values {
  const shape = tensor.shape.map(Number);
  if (tensor.datatype === DataType.BYTES) return { shape, data: decodeTexts(tensor.raw) };
  const kind = NUMERIC.get(tensor.datatype);
  if (kind === undefined) throw new TypeError(`output ${tensor.name}: ${DataType[tensor.datatype]} has no form in JavaScript`);
  // A copy: the bytes of a message begin anywhere in its buffer, and a typed array has to begin at a multiple of its element size.
  return { shape, data: new kind(tensor.raw.slice().buffer) };
}

function isRows(values: Values | readonly (readonly number[])[]): values is readonly (readonly number[])[] {
  return Array.isArray(values);
}

function isTexts(data: Elements): data is readonly string[] {
  return Array.isArray(data);
}

function fromRows(name: string, rows: readonly (readonly number[])[]): Values {
  const width = rows[0]?.length ?? 0;
  if (rows.some((row) => row.length !== width)) throw new RangeError(`input ${name} is not rectangular`);
  return { shape: [rows.length, width], data: Float32Array.from(rows.flat()) };
}

function datatypeOf(data: Exclude<Elements, readonly string[]>): DataType {
  for (const [datatype, kind] of NUMERIC) if (datatype !== DataType.BOOL && data instanceof kind) return datatype;
  throw new TypeError("the elements are of no type that a tensor has");
}

function littleEndian(data: Exclude<Elements, readonly string[]>): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(data.byteLength);
  bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  if (new Uint8Array(Uint16Array.of(1).buffer)[0] === 1) return bytes;
  for (let start = 0; start < bytes.length; start += data.BYTES_PER_ELEMENT) bytes.subarray(start, start + data.BYTES_PER_ELEMENT).reverse();
  return bytes;
}

function encodeTexts(texts: readonly string[]): Uint8Array<ArrayBuffer> {
  const encoded = texts.map((text) => new TextEncoder().encode(text));
  const bytes = new Uint8Array(encoded.reduce((total, text) => total + 4 + text.length, 0));
  const view = new DataView(bytes.buffer);
  let position = 0;
  for (const text of encoded) {
    view.setUint32(position, text.length, true);
    bytes.set(text, position + 4);
    position += 4 + text.length;
  }
  return bytes;
}

function decodeTexts(raw: Uint8Array): string[] {
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  const texts: string[] = [];
  let position = 0;
  while (position < raw.length) {
    const end = position + 4 + view.getUint32(position, true);
    if (end > raw.length) throw new RangeError("an element is longer than its tensor");
    texts.push(new TextDecoder().decode(raw.subarray(position + 4, end)));
    position = end;
  }
  return texts;
}
