/** A Map or a Set, which keep their keys in the order in which they were added. */
export interface KeptInOrder<Key> {
  readonly size: number;
  keys(): IterableIterator<Key>;
  delete(key: Key): boolean;
}

/** Makes room for one more in a cache of at most `most` entries: the oldest go first. */
export function makeRoom<Key>(cache: KeptInOrder<Key>, most: number): void {
  for (const oldest of cache.keys()) {
    if (cache.size < most) return;
    cache.delete(oldest);
  }
}

/** Keeps an entry as the newest of a cache of at most `most` entries: the oldest go first. */
export function keepNewest<Key, Value>(
  cache: Map<Key, Value>,
  key: Key,
  value: Value,
  most: number,
): void {
  cache.delete(key);
  makeRoom(cache, most);
  cache.set(key, value);
}
