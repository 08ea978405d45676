// Files and folders that were chosen or dropped, sorted into uploads. File names, which may name a patient, are not sent.

const ALONE = /\.(nii|nii\.gz|nrrd|mha|npy|npz|png|jpe?g|bmp|tiff?|webp|zip)$/i;
const IN_PARTS = /\.(mhd|raw|zraw|nhdr|hdr|img)$/i;

// A list of {name, blob}: single files by themselves, DICOM files of one folder together as a zip.
export async function uploadsOf(files) {
  const alone = files.filter(({ file }) => ALONE.test(file.name));
  const parts = files.filter(({ file }) => IN_PARTS.test(file.name));
  const groups = new Map();
  for (const entry of files.filter(({ file }) => !ALONE.test(file.name) && !IN_PARTS.test(file.name))) {
    const folder = entry.path.includes("/") ? entry.path.split("/")[0] : "";
    groups.set(folder, [...(groups.get(folder) ?? []), entry]);
  }
  const found = alone.map(({ file }) => ({ name: file.name, blob: file }));
  for (const [folder, members] of groups) {
    if (members.length === 1) found.push({ name: members[0].file.name, blob: members[0].file });
    else found.push({ name: folder || "DICOM", blob: await zip(members.map(({ file }, number) => [`${number}`.padStart(6, "0"), file])) });
  }
  const folders = new Set(parts.map(folderOf)); // each by itself: headers of two folders may name their pixels alike
  for (const folder of folders) {
    const members = parts.filter((entry) => folderOf(entry) === folder);
    found.push({ name: members[0].file.name, blob: await zip(members.map(({ file }) => [file.name, file])) });
  }
  return found;
}

const folderOf = ({ path }) => path.slice(0, path.lastIndexOf("/") + 1);

// Everything that was dropped, folders walked through.
export async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const found = [];
  for (const entry of entries) await walk(entry, "", found);
  return found;
}

export const chosen = (input) =>
  [...input.files].map((file) => ({ file, path: file.webkitRelativePath || file.name }));

async function walk(entry, folder, found) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    found.push({ file, path: folder + file.name });
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const batch = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (batch.length === 0) return;
    for (const child of batch) await walk(child, `${folder}${entry.name}/`, found);
  }
}

// An uncompressed zip (APPNOTE 4.3); the blobs are not copied.
async function zip(members) {
  const body = [];
  const directory = [];
  let offset = 0;
  for (const [name, blob] of members) {
    const stored = new TextEncoder().encode(name);
    const about = [20, 0x0800, 0, 0, 0x21]; // version, UTF-8 names, stored, no time of its own
    const sizes = [crc32(new Uint8Array(await blob.arrayBuffer())), blob.size, blob.size];
    const local = record(0x04034b50, about, sizes, [stored.length, 0]);
    directory.push(record(0x02014b50, [20, ...about], sizes, [stored.length, 0, 0, 0, 0], [0, offset]), stored);
    body.push(local, stored, blob);
    offset += local.length + stored.length + blob.size;
  }
  const length = directory.reduce((sum, part) => sum + part.length, 0);
  const end = record(0x06054b50, [0, 0, members.length, members.length], [length, offset], [0]);
  return new Blob([...body, ...directory, end]);
}

// A signature, then numbers in little endian: groups of 16 and 32 bits in turn.
function record(signature, ...groups) {
  const bytes = [];
  const write = (value, count) => {
    for (let shift = 0; shift < count; shift++) bytes.push((value >>> (8 * shift)) & 255);
  };
  write(signature, 4);
  groups.forEach((group, turn) => group.forEach((value) => write(value, turn % 2 ? 4 : 2)));
  return new Uint8Array(bytes);
}

const TABLE = Uint32Array.from({ length: 256 }, (_, number) => {
  let value = number;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value >>> 0;
});

function crc32(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = (value >>> 8) ^ TABLE[(value ^ byte) & 255];
  return (value ^ 0xffffffff) >>> 0;
}
