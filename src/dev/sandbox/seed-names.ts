// Names for the seed: invented combinations, and the shapes of names that break software.

export const givenNames: readonly [string, ...string[]] = [
  'Ada',
  'Bela',
  'Carla',
  'Dario',
  'Edda',
  'Femi',
  'Greta',
  'Hugo',
  'Ines',
  'Jonas',
  'Kaya',
  'Lena',
  'Milo',
  'Nora',
  'Oskar',
  'Paula',
  'Quinn',
  'Rosa',
  'Sami',
  'Tara',
  'Udo',
  'Vera',
  'Wim',
  'Xenia',
  'Yuri',
  'Zoe',
]

export const familyNames: readonly [string, ...string[]] = [
  'Acker',
  'Berg',
  'Castel',
  'Dorn',
  'Engel',
  'Fuchs',
  'Grau',
  'Hagen',
  'Ibarra',
  'Jansen',
  'Keller',
  'Lund',
  'Marsh',
  'Noor',
  'Okoro',
  'Petrov',
  'Quist',
  'Rivera',
  'Stone',
  'Turner',
  'Ullman',
  'Vogel',
  'Weiss',
  'Young',
  'Zeman',
]

/** First and last name in other scripts, directions and compositions. */
export const namesInManyScripts: readonly (readonly [string, string])[] = [
  ['ليلى', 'الحداد'],
  ['שירה', 'כהן'],
  ['小明', '王'],
  ['さくら', '田中'],
  ['민준', '김'],
  ['आरव', 'शर्मा'],
  ['Ольга', 'Кузнецова'],
  ['Ελένη', 'Παπαδοπούλου'],
  ['สมชาย', 'ใจดี'],
  ['👩🏽‍🚀', '🏳️‍🌈'],
  ['Zoe\u0308', 'Bruc\u030C\u0301ke'],
  ['\u202Eevil', 'Override\u202C'],
  ["O'Brien", 'D’Arcy-Smith'],
  ['Robert"); DROP TABLE users;--', '<b>Bold</b> & Co'],
  ['back\\slash', 'tab\tand\nline'],
  ['null', 'undefined'],
]

/** Names of nothing but space: blanks, a no-break space, a zero-width space, an ideographic space. */
export const whitespaceNames: readonly [string, ...string[]] = ['   ', '\u00A0', '\u200B', '\u3000', ' \t\n']

/** Longer than any form would take, with a character outside the basic plane at its end. */
export const longName = `${'Maximiliane-Wolfeschlegelsteinhausen'.repeat(28)}𝔘`
