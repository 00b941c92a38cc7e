import type { Store, StoreEvents } from "./types.ts";

type Listener<Type extends keyof StoreEvents> = (...args: StoreEvents[Type]) => void;

/** Who hears of a store's changes. */
export interface StoreListeners {
  readonly on: Store["on"];
  emit<Type extends keyof StoreEvents>(type: Type, ...args: StoreEvents[Type]): void;
}

export function createStoreListeners(): StoreListeners {
  const listeners: { readonly [Type in keyof StoreEvents]: Set<Listener<Type>> } = {
    committed: new Set(),
    removed: new Set(),
    rotted: new Set(),
    collected: new Set(),
    indexOpened: new Set(),
  };
  return {
    on(type, listener) {
      listeners[type].add(listener);
      return {
        [Symbol.dispose]() {
          listeners[type].delete(listener);
        },
      };
    },
    emit(type, ...args) {
      for (const listener of listeners[type]) listener(...args);
    },
  };
}
