package org.reactorvfio.vendor.mlx5;

import java.nio.ByteBuffer;
import java.util.ArrayDeque;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/** What an emulated adapter's firmware does when it is told to. */
final class EmulatedCommands {
  static final int EVENT_QUEUE = 5;

  /** The first page of doorbells, which are in BAR 0. */
  private static final int FIRST_DOORBELLS = 8;

  private static final int PAGE = 4096;
  private static final int BOOT_PAGES = 2;
  private static final int INIT_PAGES = Pages.BATCH + 6;
  private static final int VF_PAGES = 3;
  private static final int BAD_OPERATION = 0x02;
  private static final int BAD_RESOURCE = 0x05;
  private static final int INTERNAL = 0x01;

  private final EmulatedFirmware firmware;
  private final List<EmulatedVhca> vhcas;
  private final boolean chunks;

  private final Map<Integer, ArrayDeque<Long>> pages = new HashMap<>();
  private final Set<Integer> domains = new HashSet<>();
  private final Set<Integer> doorbells = new HashSet<>();
  private final Map<Integer, Key> keys = new HashMap<>();
  private int nextObject = 1;
  private int refusedPages;
  private boolean enabled;
  private boolean initialized;
  private boolean oldFirmware;
  private boolean migration = true;
  private boolean managesVhcas = true;
  private long claimedSize;

  /** Memory that a key is for. */
  private static final class Key {
    private final long[] pages;
    private final long size;

    Key(long[] pages, long size) {
      this.pages = pages;
      this.size = size;
    }
  }

  EmulatedCommands(EmulatedFirmware firmware, List<EmulatedVhca> vhcas, boolean chunks) {
    this.firmware = firmware;
    this.vhcas = vhcas;
    this.chunks = chunks;
  }

  // ---- what tests change and ask, without commands going on

  /** Knows neither tracking nor ISSI. */
  void oldFirmware() {
    oldFirmware = true;
  }

  void migration(boolean value) {
    migration = value;
  }

  void managesVhcas(boolean value) {
    managesVhcas = value;
  }

  /** Says that states are so large. */
  void claimSize(long bytes) {
    claimedSize = bytes;
  }

  EmulatedVhca vhca(int index) {
    return vhcas.get(index);
  }

  int pages(int function) {
    return pages.getOrDefault(function, new ArrayDeque<>()).size();
  }

  int refusedPages() {
    return refusedPages;
  }

  int objects() {
    return domains.size() + doorbells.size() + keys.size();
  }

  boolean isDoorbellPage(int page) {
    return doorbells.contains(page);
  }

  void reset() {
    pages.clear();
    domains.clear();
    doorbells.clear();
    keys.clear();
    enabled = false;
    initialized = false;
    vhcas.forEach(EmulatedVhca::disable);
  }

  // ---- commands

  void execute(ByteBuffer input, ByteBuffer output) {
    int number = (int) Layout.OPCODE.get(input);
    Opcode opcode = null;
    for (Opcode known : Opcode.values()) {
      opcode = known.number() == number ? known : opcode;
    }
    if (opcode == null) {
      throw new EmulatedVhca.Refusal(BAD_OPERATION, 0x1);
    }
    if (opcode != Opcode.ENABLE_HCA && !enabled) {
      throw new EmulatedVhca.Refusal(EmulatedVhca.BAD_STATE, 0x2);
    }
    switch (opcode) {
      case ENABLE_HCA -> enable((int) Layout.FUNCTION_ID.get(input));
      case DISABLE_HCA -> disable((int) Layout.FUNCTION_ID.get(input));
      case INIT_HCA -> init();
      case TEARDOWN_HCA -> initialized = false;
      case QUERY_ISSI -> {
        if (oldFirmware) {
          throw new EmulatedVhca.Refusal(BAD_OPERATION, 0x3);
        }
        Layout.SUPPORTED_ISSI.set(output, 3);
      }
      case SET_ISSI -> {
        // There is nothing that would differ.
      }
      case QUERY_PAGES ->
        Layout.PAGE_COUNT.set(
            output, Layout.OP_MOD.get(input) == Pages.BOOT ? BOOT_PAGES : INIT_PAGES);
      case MANAGE_PAGES -> managePages(input, output);
      case QUERY_HCA_CAP -> queryCapabilities(input, output);
      case SET_HCA_CAP -> setCapabilities(input);
      case ALLOC_PD -> allocate(domains, nextObject++, output);
      case DEALLOC_PD -> deallocate(domains, input);
      case ALLOC_UAR -> allocate(doorbells, FIRST_DOORBELLS + doorbells.size(), output);
      case DEALLOC_UAR -> deallocate(doorbells, input);
      case CREATE_EQ -> createEventQueue(input, output);
      case DESTROY_EQ -> firmware.listenNoMore();
      case CREATE_MKEY -> createKey(input, output);
      case DESTROY_MKEY -> {
        if (keys.remove((int) Layout.OBJECT.get(input)) == null) {
          throw new EmulatedVhca.Refusal(BAD_RESOURCE, 0x4);
        }
      }
      case SUSPEND_VHCA -> vhcaOf(input).suspend((int) Layout.OP_MOD.get(input));
      case RESUME_VHCA -> vhcaOf(input).resume((int) Layout.OP_MOD.get(input));
      case QUERY_VHCA_MIGRATION_STATE -> queryMigration(input, output);
      case SAVE_VHCA_STATE -> save(input, output);
      case LOAD_VHCA_STATE -> load(input);
    }
  }

  private void enable(int function) {
    if (function == 0) {
      enabled = true;
      return;
    }
    vf(function).enable();
    firmware.requestPages(function, VF_PAGES);
  }

  private void disable(int function) {
    if (function == 0) {
      enabled = false;
    } else {
      vf(function).disable();
    }
  }

  private EmulatedVhca vf(int function) {
    if (function < 1 || function > vhcas.size()) {
      throw new EmulatedVhca.Refusal(EmulatedVhca.BAD_PARAMETER, 0x5);
    }
    return vhcas.get(function - 1);
  }

  private void init() {
    ArrayDeque<Long> own = pages.getOrDefault(0, new ArrayDeque<>());
    if (own.size() < BOOT_PAGES + INIT_PAGES) {
      throw new EmulatedVhca.Refusal(EmulatedVhca.BAD_STATE, 0x6);
    }
    for (long page : own) {
      if (!firmware.write(page, ByteBuffer.allocate(PAGE))) {
        throw new EmulatedVhca.Refusal(INTERNAL, 0x7);
      }
    }
    initialized = true;
  }

  private void managePages(ByteBuffer input, ByteBuffer output) {
    int function = (int) Layout.FUNCTION_ID.get(input);
    int count = (int) Layout.PAGE_COUNT.get(input);
    ArrayDeque<Long> own = pages.computeIfAbsent(function, any -> new ArrayDeque<>());
    switch ((int) Layout.OP_MOD.get(input)) {
      case Pages.GIVE -> {
        for (int i = 0; i < count; i++) {
          own.add(page(i).get(input));
        }
      }
      case Pages.TAKE -> {
        int taken = Math.min(count, own.size());
        for (int i = 0; i < taken; i++) {
          page(i).set(output, own.remove());
        }
        Layout.PAGES_TAKEN.set(output, taken);
      }
      default -> refusedPages++;
    }
  }

  private static Field page(int index) {
    return new Field(Layout.PAGES + 64 * index, 64);
  }

  private void queryCapabilities(ByteBuffer input, ByteBuffer output) {
    boolean other = Layout.OTHER_FUNCTION.get(input) != 0;
    int function = other ? (int) Layout.FUNCTION_ID.get(input) : 0;
    int kind = (int) Layout.OP_MOD.get(input) >> 1;
    if (kind == Layout.GENERAL) {
      Layout.OWN_VHCA_ID.set(output, function == 0 ? 0 : vhcaId(function));
      Layout.COMMAND_SIGNATURES.set(output, firmware.signatures() ? 3 : 0);
      Layout.HAS_GENERAL_2.set(output, oldFirmware ? 0 : 1);
      Layout.VHCA_RESOURCE_MANAGER.set(output, managesVhcas ? 1 : 0);
      Layout.MIGRATION.set(output, migration ? 1 : 0);
    } else if (kind == Layout.GENERAL_2) {
      Layout.MULTI_LOAD.set(output, 1);
      Layout.TRACKING.set(output, 1);
      Layout.TELLS_STATE.set(output, 1);
      Layout.CHUNKS.set(output, chunks ? 1 : 0);
      if (function != 0) {
        Layout.MIGRATABLE.set(output, vf(function).migratable() ? 1 : 0);
      }
    } else {
      throw new EmulatedVhca.Refusal(EmulatedVhca.BAD_PARAMETER, 0x8);
    }
  }

  private void setCapabilities(ByteBuffer input) {
    if (Layout.OTHER_FUNCTION.get(input) == 0) {
      return;
    }
    if (Layout.OP_MOD.get(input) >> 1 != Layout.GENERAL_2) {
      throw new EmulatedVhca.Refusal(EmulatedVhca.BAD_PARAMETER, 0x9);
    }
    EmulatedVhca vf = vf((int) Layout.FUNCTION_ID.get(input));
    if (vf.enabled()) {
      throw new EmulatedVhca.Refusal(EmulatedVhca.BAD_STATE, 0xa);
    }
    vf.migratable(Layout.MIGRATABLE.get(input) != 0);
  }

  /** Ids of VHCAs are not numbers of functions: a driver must ask. */
  private static int vhcaId(int function) {
    return 0x100 + function;
  }

  private static void allocate(Set<Integer> all, int number, ByteBuffer output) {
    all.add(number);
    Layout.OBJECT.set(output, number);
  }

  private static void deallocate(Set<Integer> all, ByteBuffer input) {
    if (!all.remove((int) Layout.OBJECT.get(input))) {
      throw new EmulatedVhca.Refusal(BAD_RESOURCE, 0xb);
    }
  }

  private void createEventQueue(ByteBuffer input, ByteBuffer output) {
    int log = (int) Layout.EQ_LOG_SIZE.get(input);
    if (firmware.hasEvents()
        || !initialized
        || !doorbells.contains((int) Layout.EQ_UAR.get(input))
        || Layout.EQ_EVENTS.get(input)
            != (1 << EventQueue.COMMAND | 1 << EventQueue.PAGE_REQUEST)) {
      throw new EmulatedVhca.Refusal(EmulatedVhca.BAD_PARAMETER, 0xc);
    }
    long[] memory = new long[Math.max(1, (EventQueue.ENTRY << log) / PAGE)];
    for (int i = 0; i < memory.length; i++) {
      memory[i] = new Field(8 * Layout.EQ_LENGTH + 64 * i, 64).get(input);
    }
    firmware.listen(memory, log, (int) Layout.EQ_VECTOR.get(input));
    Layout.EQ_NUMBER.set(output, EVENT_QUEUE);
  }

  private void createKey(ByteBuffer input, ByteBuffer output) {
    long size = Layout.MKEY_SIZE.get(input);
    int count = (int) (size / PAGE);
    boolean right = initialized
        && domains.contains((int) Layout.MKEY_PD.get(input))
        && Layout.MKEY_ACCESS_MODE.get(input) == Layout.ACCESS_BY_PAGES
        && Layout.MKEY_RIGHTS.get(input) == Layout.ALL_RIGHTS
        && Layout.MKEY_QUEUE_PAIR.get(input) == 0xff_ffff
        && Layout.MKEY_LOG_PAGE_SIZE.get(input) == 12
        && Layout.MKEY_START.get(input) == 0
        && Layout.MKEY_OCTWORDS.get(input) == (count + 1) / 2
        && Layout.MKEY_ACTUAL_OCTWORDS.get(input) == (count + 1) / 2
        && input.limit() == Layout.MKEY_LENGTH + 16 * ((count + 1) / 2);
    if (!right || size <= 0 || size % PAGE != 0) {
      throw new EmulatedVhca.Refusal(EmulatedVhca.BAD_PARAMETER, 0xd);
    }
    long[] memory = new long[count];
    for (int i = 0; i < count; i++) {
      memory[i] = new Field(8 * Layout.MKEY_LENGTH + 64 * i, 64).get(input);
    }
    int index = nextObject++;
    keys.put(index, new Key(memory, size));
    Layout.OBJECT.set(output, index);
  }

  private EmulatedVhca vhcaOf(ByteBuffer input) {
    return vf((int) Layout.VHCA_ID.get(input) - vhcaId(0));
  }

  private void queryMigration(ByteBuffer input, ByteBuffer output) {
    VhcaCommands.Sizes sizes =
        vhcaOf(input).query(Layout.INCREMENTAL.get(input) != 0, Layout.CHUNKED.get(input) != 0);
    Layout.REQUIRED.set(output, claimedSize > 0 ? claimedSize : sizes.required());
    Layout.REMAINING.set(output, sizes.total());
    Layout.MIGRATION_STATE.set(output, sizes.restarted() ? Layout.STATE_INITIAL : 2);
  }

  private Key keyOf(ByteBuffer input) {
    long key = Layout.MKEY.get(input);
    @Nullable Key found = (key & 0xff) == 0 ? keys.get((int) (key >> 8)) : null;
    if (found == null || Layout.ADDRESS.get(input) != 0 || Layout.SIZE.get(input) > found.size) {
      throw new EmulatedVhca.Refusal(BAD_RESOURCE, 0xe);
    }
    return found;
  }

  private void save(ByteBuffer input, ByteBuffer output) {
    Key key = keyOf(input);
    EmulatedVhca vf = vhcaOf(input);
    ByteBuffer image = vf.save(
        Layout.SIZE.get(input), Layout.INCREMENTAL.get(input) != 0, Layout.TRACK.get(input) != 0);
    for (int at = 0; at < image.limit(); at += PAGE) {
      if (!firmware.write(
          key.pages[at / PAGE], image.slice(at, Math.min(PAGE, image.limit() - at)))) {
        throw new EmulatedVhca.Refusal(INTERNAL, 0xf);
      }
    }
    Layout.IMAGE_SIZE.set(output, image.limit());
    Layout.NEXT_REQUIRED.set(output, vf.next());
  }

  private void load(ByteBuffer input) {
    Key key = keyOf(input);
    ByteBuffer image = ByteBuffer.allocate((int) Layout.SIZE.get(input));
    for (int at = 0; at < image.limit(); at += PAGE) {
      ByteBuffer part = firmware.memory(key.pages[at / PAGE], Math.min(PAGE, image.limit() - at));
      if (part == null) {
        throw new EmulatedVhca.Refusal(INTERNAL, 0x10);
      }
      image.put(at, part, 0, part.limit());
    }
    vhcaOf(input).load(image);
  }
}
